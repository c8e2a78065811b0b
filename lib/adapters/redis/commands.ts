/** Sends commands, each with a deadline of its own: a client may queue them for as long as Redis is away. */
export class Commands {
  readonly #send: (...command: string[]) => Promise<unknown>
  readonly #deadlineMs: number

  constructor(send: (...command: string[]) => Promise<unknown>, deadlineMs: number) {
    this.#send = send
    this.#deadlineMs = deadlineMs
  }

  /**
   * Sends one command.
   *
   * @param late Told the reply if it comes after the deadline: Redis has then done what was asked all the same.
   * @throws What the client throws; an `Error` if no reply comes in time.
   */
  send(command: readonly string[], late?: (reply: unknown) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let overdue = false
      const giveUp = () => {
        overdue = true
        reject(new Error(`Redis did not answer ${command[0] ?? ''} within ${this.#deadlineMs} ms`))
      }
      // Whoever was busy for longer than that finds the reply in the socket: one turn later it has been read.
      let timer = setTimeout(() => (timer = setTimeout(giveUp, 1)), this.#deadlineMs)
      const answered = (reply: unknown) => {
        clearTimeout(timer)
        if (overdue) late?.(reply)
        else resolve(reply)
      }
      const failed = (error: Error) => {
        clearTimeout(timer)
        // As it is: whoever reports it makes a copy without secrets.
        reject(error)
      }
      // A client that throws at once is one that rejects.
      new Promise((sent) => sent(this.#send(...command))).then(answered, failed)
    })
  }

  /** Runs a script on keys that have one hash tag. */
  run(
    script: string,
    keys: readonly string[],
    values: readonly string[],
    late?: (reply: unknown) => void,
  ): Promise<unknown> {
    return this.send(['EVAL', script, String(keys.length), ...keys, ...values], late)
  }
}

/** A reply that is a number; anything else is no answer of Redis. */
export function numberIn(reply: unknown): number {
  if (typeof reply !== 'number' && typeof reply !== 'bigint')
    throw new Error('Redis gave an unexpected reply')
  return Number(reply)
}

/** A reply that is a string, or nothing. */
export function textIn(reply: unknown): string | undefined {
  if (reply === null || reply === undefined) return undefined
  if (typeof reply !== 'string') throw new Error('Redis gave an unexpected reply')
  return reply
}

/** A reply that is a list of strings, some of which may be missing. With RESP 3 it may come as a set. */
export function textsIn(given: unknown): (string | undefined)[] {
  const reply: unknown = given instanceof Set ? [...(given as Set<unknown>)] : given
  if (!Array.isArray(reply)) throw new Error('Redis gave an unexpected reply')
  return reply.map(textIn)
}
