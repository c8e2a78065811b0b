import { calculateJwkThumbprint, EmbeddedJWK, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import type { JWK } from 'jose'
import { createHash, randomUUID } from 'node:crypto'

const sha256 = (value: string): string => createHash('sha256').update(value).digest('base64url')

/** What a proof is checked against (RFC 9449 §4.3). */
export interface ExpectedProof {
  method: string
  /** Without query and fragment. */
  url: string
  accessToken: string
  /** Thumbprint of the key the access token is bound to. */
  jkt: string | undefined
}

/** Checks the DPoP proofs that one protected resource receives. */
export class ProofVerifier {
  /** The nonce that is accepted. */
  nonce = randomUUID()
  readonly #seen = new Set<string>()

  /** The reason to refuse the proof, or undefined. */
  async problem(
    proof: string | undefined,
    expected: ExpectedProof,
    requireNonce: boolean,
  ): Promise<string | undefined> {
    const verified = await jwtVerify(proof ?? '', EmbeddedJWK, { typ: 'dpop+jwt', maxTokenAge: 300 }).catch(
      () => undefined,
    )
    if (!verified) return 'invalid_dpop_proof'
    const { payload, protectedHeader } = verified
    if (requireNonce && payload['nonce'] !== this.nonce) return 'use_dpop_nonce'
    const isFor =
      payload['htm'] === expected.method &&
      payload['htu'] === expected.url &&
      payload['ath'] === sha256(expected.accessToken)
    if (!isFor || payload.jti === undefined || this.#seen.has(payload.jti)) return 'invalid_dpop_proof'
    this.#seen.add(payload.jti)
    const jkt = await calculateJwkThumbprint(protectedHeader.jwk as JWK)
    return jkt === expected.jkt ? undefined : 'invalid_token'
  }
}

/** Signs proofs with a key of its own, for specs that talk to the servers themselves. */
export async function createProver(): Promise<{
  jkt: string
  prove: (claims: { htm: string; htu: string; accessToken?: string; nonce?: string }) => Promise<string>
}> {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const jwk = await exportJWK(publicKey)
  return {
    jkt: await calculateJwkThumbprint(jwk),
    prove: async ({ accessToken, ...claims }) =>
      new SignJWT({ ...claims, ...(accessToken === undefined ? {} : { ath: sha256(accessToken) }) })
        .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
        .setIssuedAt()
        .setJti(randomUUID())
        .sign(privateKey),
  }
}
