import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildSync } from 'esbuild'
import type { Order, WorkerSettings } from './worker.ts'

/** The worker in one file: eight of them start in the time in which tsx starts one. */
function buildWorker(): string {
  const outfile = join(mkdtempSync(join(tmpdir(), 'xaa-fetch-worker-')), 'worker.mjs')
  buildSync({
    // Specs and the demo run where the package is.
    entryPoints: [join(process.cwd(), 'spec/redis/worker.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    banner: {
      js: "import { createRequire as _cr } from 'node:module'; const require = _cr(import.meta.url)",
    },
  })
  return outfile
}
let worker: string | undefined

/** A real process of a fleet. */
export class Worker {
  readonly #child: ChildProcess
  readonly #waiting = new Map<
    number,
    { resolve: (result: unknown) => void; reject: (error: Error) => void }
  >()
  #orders = 0
  /** Told the type of each event of xaa-fetch in it. */
  onEvent: (type: string) => void = () => undefined

  private constructor(child: ChildProcess) {
    this.#child = child
    child.on('message', (message: { event?: string; id?: number; result?: unknown; error?: string }) => {
      const { event, id = 0, result, error } = message
      if (event !== undefined) return this.onEvent(event)
      const waiting = this.#waiting.get(id)
      if (error === undefined) waiting?.resolve(result)
      else waiting?.reject(new Error(error))
    })
    child.on('exit', () => {
      for (const waiting of this.#waiting.values()) waiting.reject(new Error('The process ended'))
    })
  }

  static async start(settings: WorkerSettings): Promise<Worker> {
    const child = fork((worker ??= buildWorker()), {
      execArgv: [],
      env: { PATH: process.env['PATH'], WORKER_SETTINGS: JSON.stringify(settings) },
    })
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve())
      child.once('exit', (code) => reject(new Error(`A worker ended with ${code}`)))
    })
    return new Worker(child)
  }

  tell(order: Order): Promise<unknown> {
    const id = ++this.#orders
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.send({ id, order })
    })
  }

  /** Ends it without a chance to tidy up. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGKILL')
    await ended
  }
}
