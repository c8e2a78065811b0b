import { longestMs } from '../protocol/context.ts'
import { abortable } from '../protocol/abort.ts'

/** A time limit as a signal. */
export interface Deadline {
  /** Aborts with a `TimeoutError`, or with the parent's reason. */
  readonly signal: AbortSignal
  /** Gives as much time again, from now on. */
  restart(): void
  /** Ends the limit without aborting. */
  clear(): void
}

/** Starts a time limit; it also ends with `parent`, and leaves no listener behind once it is cleared. */
export function startDeadline(ms: number, parent?: AbortSignal): Deadline {
  const controller = new AbortController()
  const timeOut = () => controller.abort(new DOMException('The time has run out.', 'TimeoutError'))
  const start = () => setTimeout(timeOut, Math.min(ms, longestMs))
  let timer = start()
  const follow = () => controller.abort(parent?.reason)
  if (parent?.aborted === true) follow()
  parent?.addEventListener('abort', follow, { once: true })
  return {
    signal: controller.signal,
    restart() {
      clearTimeout(timer)
      timer = start()
    },
    clear() {
      clearTimeout(timer)
      parent?.removeEventListener('abort', follow)
    },
  }
}

/** Settles like `work`, or rejects with a `TimeoutError` if that takes longer. What throws at once rejects, too. */
export async function withTimeout<T>(ms: number, work: () => T | Promise<T>): Promise<T> {
  const deadline = startDeadline(ms)
  try {
    return await abortable(new Promise<T>((resolve) => resolve(work())), deadline.signal)
  } finally {
    deadline.clear()
  }
}

/** Settles like `work`, or gives nothing if that takes longer. */
export function inTime<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), Math.min(ms, longestMs))
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** Waits; false as soon as one of the signals aborts. */
export function pause(ms: number, ...signals: AbortSignal[]): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (waited: boolean) => {
      clearTimeout(timer)
      for (const signal of signals) signal.removeEventListener('abort', abort)
      resolve(waited)
    }
    const abort = () => end(false)
    const timer = setTimeout(() => end(true), Math.min(ms, longestMs))
    for (const signal of signals) signal.addEventListener('abort', abort, { once: true })
    if (signals.some(({ aborted }) => aborted)) abort()
  })
}
