import { makeRoom } from './make-room.ts'

/** Origins whose nonce is remembered, and the characters of a nonce: a server may give any number of any length (G8). */
const mostNonces = 1_000
const longestNonce = 2_048

/** The newest DPoP nonce of each origin: servers give the same to everybody. */
export class Nonces extends Map<string, string> {
  override set(origin: string, nonce: string): this {
    if (nonce.length > longestNonce) return this
    makeRoom(this, mostNonces, origin)
    return super.set(origin, nonce)
  }
}
