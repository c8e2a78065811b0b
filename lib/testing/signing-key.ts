import { exportJWK } from 'jose/key/export'
import { generateKeyPair } from 'jose/key/generate/keypair'
import { SignJWT } from 'jose/jwt/sign'
import { jwtVerify } from 'jose/jwt/verify'
import type { GenerateKeyPairResult, JWK, JWTPayload } from 'jose'
import type { Clock } from '../protocol/context.ts'

const alg = 'ES256'

/** What a token has to be besides signed by this key and alive. */
interface ExpectedToken {
  readonly typ: string
  readonly issuers: readonly string[]
  readonly audience: string
}

/** The key of one party. It is made beside whatever comes before its first use. */
export class SigningKey {
  readonly #clock: Clock
  readonly #id: string
  #pair: Promise<GenerateKeyPairResult> | undefined

  constructor(id: string, clock: Clock) {
    this.#id = id
    this.#clock = clock
    // Workers make no keys while a program starts: there it is made when it is needed.
    this.#keys().catch(() => (this.#pair = undefined))
  }

  /** Signs claims as a compact JWT. */
  async sign(typ: string, claims: JWTPayload): Promise<string> {
    const { privateKey } = await this.#keys()
    return await new SignJWT(claims).setProtectedHeader({ alg, typ, kid: this.#id }).sign(privateKey)
  }

  /** The claims of a token that this key signed, which is what it has to be and alive by the clock; else nothing. */
  async verify(token: string, { typ, issuers, audience }: ExpectedToken): Promise<JWTPayload | undefined> {
    const { publicKey } = await this.#keys()
    try {
      const { payload } = await jwtVerify(token, publicKey, {
        typ,
        algorithms: [alg],
        issuer: [...issuers],
        audience,
        requiredClaims: ['sub', 'exp'],
        currentDate: new Date(this.#clock.now()),
      })
      return payload
    } catch {
      return undefined
    }
  }

  /** The document at `jwks_uri`. */
  async publish(): Promise<{ keys: JWK[] }> {
    const { publicKey } = await this.#keys()
    return { keys: [{ ...(await exportJWK(publicKey)), alg, kid: this.#id, use: 'sig' }] }
  }

  #keys(): Promise<GenerateKeyPairResult> {
    return (this.#pair ??= generateKeyPair(alg))
  }
}
