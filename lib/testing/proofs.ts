import { jwtVerify } from 'jose/jwt/verify'
import { EmbeddedJWK } from 'jose/jwk/embedded'
import { calculateJwkThumbprint } from 'jose/jwk/thumbprint'
import { sha256 } from '../protocol/sha256.ts'

/** Algorithms of proofs, for metadata and challenges. */
export const proofAlgorithms: readonly string[] = ['ES256', 'ES384', 'ES512', 'PS256', 'RS256', 'EdDSA']

/** As much of a request as a proof speaks of. */
interface ProvenRequest {
  readonly method: string
  readonly url: string
  readonly headers: Headers
}

/** Checks DPoP proofs (RFC 9449 §4.3), for all parties: a proof names the URL that it is for. */
export class Proofs {
  /** Proofs that were seen: each is taken once. */
  readonly #seen = new Set<string>()

  /**
   * Thumbprint of the key of a good proof, else nothing. How old it is plays no part: the clock of a client in another
   * process is not the one that the test advances.
   */
  async keyOf({ method, url, headers }: ProvenRequest, accessToken?: string): Promise<string | undefined> {
    const { origin, pathname } = new URL(url)
    const ath = accessToken === undefined ? undefined : await sha256(accessToken)
    try {
      const { payload, protectedHeader } = await jwtVerify(headers.get('dpop') ?? '', EmbeddedJWK, {
        typ: 'dpop+jwt',
        algorithms: [...proofAlgorithms],
        requiredClaims: ['iat'],
      })
      const { jti, htm, htu } = payload
      const isFor = htm === method && htu === origin + pathname && payload['ath'] === ath
      if (!isFor || jti === undefined || this.#seen.has(jti)) return undefined
      this.#seen.add(jti)
      // EmbeddedJWK has taken the key from there.
      return protectedHeader.jwk && (await calculateJwkThumbprint(protectedHeader.jwk))
    } catch {
      return undefined
    }
  }
}
