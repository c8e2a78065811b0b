import type { CrossAppAccessEvent } from '../../lib/index.ts'
import type { Tell } from './events.ts'

const reasons: Record<string, string> = {
  missing: 'needs a token: finds out who issues it',
  rejected: 'gets another token; who issues it is known by now',
  expired: 'knows that its token has expired: gets another one first',
  soft_renewal: 'renews the token beside the request',
  scope: 'asks for a wider scope',
  authentication: 'asks for a stronger sign-in',
}

/** Makes a listener for `onEvent` that tells what xaa-fetch decides. Requests are told by those who send them. */
export function narrator(tell: Tell): (event: CrossAppAccessEvent) => void {
  const numbers = new Map<string, number>()
  const known = { token: false }
  const name = (tokenId: string): string => `access token ${numbers.get(tokenId) ?? '?'}`
  return (event) => {
    const note = (text: string): void => tell({ type: 'note', who: 'xaa-fetch', text, event: event.type })
    switch (event.type) {
      case 'token_used':
        return note(`takes ${name(event.tokenId)} from memory`)
      case 'token_served_stale':
        return note(`takes ${name(event.tokenId)} from memory, near its end`)
      case 'acquire_started': {
        // Cold, it is missing; later it is one that has run out.
        const reason = event.reason === 'missing' && known.token ? 'expired' : event.reason
        return note(reasons[reason] ?? reason)
      }
      case 'token_acquired':
        known.token = true
        numbers.set(event.tokenId, numbers.size + 1)
        return note(`keeps ${name(event.tokenId)} in memory`)
      case 'replay':
        return note('sends the same request again, with the new token')
      case 'acquire_failed':
        return note(`could not get a token: ${event.error.code}`)
      case 'gate_closed':
        return note('asks nobody again for a while')
      default:
        return undefined
    }
  }
}
