/** Whether a signal is aborted because somebody wanted to stop, and not because time ran out. */
export function isCancelled(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true && !isTimeout(signal.reason)
}

/** Settles like `work`, or rejects with the signal's reason as soon as it aborts, whether `work` listens or not. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work
  return new Promise((resolve, reject) => {
    // Boundary: the reason is handed on as it is, an Error or not.
    const leave = whenAborted(signal, () => reject(signal.reason as Error))
    // Also after an abort, so that a later rejection is nobody's unhandled one.
    work.then(resolve, reject).finally(leave)
  })
}

interface Waiters {
  readonly tell: Set<() => void>
  readonly listener: () => void
}

/** Those who wait for each signal: it carries one listener for all of them, and none once nobody waits (G8). */
const waiting = new WeakMap<AbortSignal, Waiters>()

/** Calls `abort` at the signal's abort, or at once if that has been. Gives what calls it off. */
function whenAborted(signal: AbortSignal, abort: () => void): () => void {
  if (signal.aborted) {
    abort()
    return () => undefined
  }
  const waiters = waiting.get(signal) ?? startWaiting(signal)
  waiters.tell.add(abort)
  return () => {
    if (!waiters.tell.delete(abort) || waiters.tell.size > 0) return
    signal.removeEventListener('abort', waiters.listener)
    waiting.delete(signal)
  }
}

function startWaiting(signal: AbortSignal): Waiters {
  const tell = new Set<() => void>()
  const waiters = { tell, listener: () => tell.forEach((abort) => abort()) }
  waiting.set(signal, waiters)
  signal.addEventListener('abort', waiters.listener, { once: true })
  return waiters
}

/** Whether an abort reason says that time ran out, and not that somebody wanted to stop. */
function isTimeout(reason: unknown): boolean {
  return typeof reason === 'object' && reason !== null && 'name' in reason && reason.name === 'TimeoutError'
}
