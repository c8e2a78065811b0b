// A client as an application has one: it calls an MCP server, and knows what to tell its user when that cannot be done.
// What the tests beside it look at is this file; how it gets its access token is none of their business.
import { isCrossAppAccessError } from 'xaa-fetch'

/** What the application shows. */
export type Outcome =
  | { kind: 'notes'; text: string }
  | { kind: 'sign_in'; acrValues?: string | undefined }
  | { kind: 'ask_administrator'; hint: string }
  | { kind: 'try_later'; seconds: number }
  | { kind: 'forbidden' }

/** Reads the user's notes, with a fetch that sends access tokens. */
export async function readNotes(url: string, xaaFetch: typeof fetch): Promise<Outcome> {
  try {
    const answer = await xaaFetch(url)
    if (answer.status === 403) return { kind: 'forbidden' }
    return { kind: 'notes', text: await answer.text() }
  } catch (error) {
    if (!isCrossAppAccessError(error)) throw error
    switch (error.code) {
      case 'login_required':
        return { kind: 'sign_in' }
      case 'step_up_required':
        return { kind: 'sign_in', acrValues: error.acrValues }
      case 'temporarily_unavailable':
        return { kind: 'try_later', seconds: error.retryAfter ?? 60 }
      case 'policy_denied':
        return { kind: 'ask_administrator', hint: error.hint }
      default:
        throw error
    }
  }
}
