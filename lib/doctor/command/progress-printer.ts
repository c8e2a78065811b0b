import type { Exchange, Progress } from '../report.ts'
import { partyNames, stepNames } from '../report.ts'
import { columnsOf } from './columns.ts'

/** Says on a terminal what happens; on anything else only what has happened. */
export class ProgressPrinter {
  readonly #stream: NodeJS.WriteStream
  readonly #quiet: boolean
  readonly #colour: boolean
  /** Whether a line stands there that the next one replaces. */
  #open = false
  /** What has been said to be asked. */
  readonly #asked = new Set<string>()

  constructor(stream: NodeJS.WriteStream, quiet: boolean, colour: boolean) {
    this.#stream = stream
    this.#quiet = quiet
    this.#colour = colour
  }

  show(progress: Progress): void {
    if (progress.type === 'request') {
      this.#pending(`… ${partyNames[progress.party]}: ${stepNames[progress.step]}`)
    } else if (progress.type === 'answer') {
      this.#line(this.#lineOf(progress.exchange))
    } else {
      this.#pending('… ID token')
    }
  }

  /** A line for the user, even if it is quiet: an address to open is one. */
  say(line: string): void {
    this.end()
    this.#stream.write(`${line}\n`)
  }

  end(): void {
    if (this.#open) this.#stream.write('\r\u001b[2K')
    this.#open = false
  }

  #pending(text: string): void {
    if (this.#quiet || !this.#stream.isTTY) return
    this.end()
    this.#stream.write(text.slice(0, columnsOf(this.#stream, process.env) - 1))
    this.#open = true
  }

  #line(text: string): void {
    if (this.#quiet) return
    this.end()
    this.#stream.write(`${this.#colour ? `\u001b[2m${text}\u001b[22m` : text}\n`)
  }

  #lineOf({ party, step, request, response, failure, durationMs }: Exchange): string {
    const status = response === undefined ? `no answer (${failure ?? 'unknown'})` : String(response.status)
    const what = `${partyNames[party]}: ${stepNames[step]}`
    // The same is asked for at several places: from the second on they are told apart.
    const place = this.#asked.has(what) ? ` at ${request.endpoint}` : ''
    this.#asked.add(what)
    return `${what}${place}: ${status}, ${Math.round(durationMs)} ms`
  }
}
