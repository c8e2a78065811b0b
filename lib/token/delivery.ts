import type { AnyFetch } from '../protocol/context.ts'

/** Whether what is sent by its `fetch` can have reached the server. */
export class Delivery {
  /** Whether the last request certainly has not. */
  isUnsent = true
  readonly fetch: AnyFetch

  constructor(fetch: AnyFetch) {
    this.fetch = async (...sent: Parameters<AnyFetch>): Promise<unknown> => {
      this.isUnsent = false
      try {
        const answer: unknown = await fetch(...sent)
        return answer
      } catch (error) {
        this.isUnsent = isNoConnection(error)
        throw error
      }
    }
  }
}

const noConnection =
  /^(ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ConnectionRefused|CERT_\w+|ERR_TLS_CERT_\w+|\w*SELF_SIGNED\w*|UNABLE_TO_\w+)$/

/** Whether an error says that no connection was made, or that its other end was not trusted: nothing was sent then. */
function isNoConnection(error: unknown, depth = 4): boolean {
  // Boundary: anything can be thrown.
  const { code, syscall, cause, errors } = (error ?? {}) as Record<string, unknown>
  if (Array.isArray(errors) && errors.length > 0)
    return errors.every((each) => isNoConnection(each, depth - 1))
  if (syscall === 'connect' || syscall === 'getaddrinfo') return true
  if (typeof code === 'string') return noConnection.test(code)
  return depth > 1 && cause !== undefined && isNoConnection(cause, depth - 1)
}
