import { createCrossAppAccess, isCrossAppAccessError } from '../../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'
import { BackChannel, asIssuer, mcpOrigin } from './back-channel.ts'
import type { Arrival, Interception } from './back-channel.ts'
import { SetClock } from './clocks.ts'

export const resource = `${mcpOrigin}/mcp`

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** The library on set clocks, with servers in memory. */
export class Rig {
  readonly clock = new SetClock()
  readonly servers = new BackChannel()
  readonly events: CrossAppAccessEvent[] = []
  /** What `getIdToken` gives, and why it was asked. */
  idToken = 'user.1'
  readonly reasons: string[] = []
  readonly xaa: CrossAppAccess
  readonly fetch: (url: string, init?: RequestInit) => Promise<Response>

  constructor(options: Partial<CrossAppAccessOptions> = {}) {
    this.servers.behaviour.now = this.clock.now
    this.xaa = createCrossAppAccess({
      ...this.servers.registrations,
      resources: [{ url: resource, authorizationServer: asIssuer }],
      getIdToken: ({ reason }) => {
        this.reasons.push(reason)
        return this.idToken
      },
      fetch: this.servers.fetch,
      clock: this.clock,
      onEvent: (event) => void this.events.push(event),
      // Pauses between retries are a quarter of the first: real time, so as short as can be.
      backOff: { minMs: 8, maxMs: 64, terminalMs: 30_000 },
      ...options,
    })
    this.fetch = this.xaa.middleware(this.servers.fetch)
  }

  /** One call: its status, or the code of its error. */
  async call(init?: RequestInit): Promise<number | string> {
    try {
      return (await this.fetch(resource, init)).status
    } catch (error) {
      return isCrossAppAccessError(error) ? error.code : String(error)
    }
  }

  /** The error of a call that fails. */
  async failure(): Promise<any> {
    return await this.fetch(resource).then(
      () => undefined,
      (error: unknown) => error,
    )
  }

  /** The fetch of another user. */
  as(user: string): Rig['fetch'] {
    return this.xaa.forSubject(user, () => `${user}.1`).middleware(this.servers.fetch)
  }

  /** Answers requests of a kind in place of the servers: so often, or until that is taken off. */
  instead(kind: Arrival['kind'], answer: Interception, times = Infinity): void {
    let left = times
    this.servers.interfere = (arrival, signal) =>
      arrival.kind === kind && left-- > 0 ? answer(arrival, signal) : undefined
  }

  get exchanges(): number {
    return this.servers.count('exchange')
  }

  get grants(): number {
    return this.servers.count('grant')
  }

  /** Waits for everything that runs beside the requests, and a little longer. */
  async settle(): Promise<void> {
    for (let idle = 0; idle < 10; idle++) {
      await this.until(() => this.#underway === 0)
      await turn()
    }
  }

  /** Lets everything happen that can, until something has. */
  async until(happened: () => boolean): Promise<void> {
    do await turn()
    while (!happened())
  }

  get #underway(): number {
    const ended = this.of('token_acquired').length + this.of('acquire_failed').length
    return this.of('acquire_started').length - ended
  }

  of<T extends CrossAppAccessEvent['type']>(type: T): Extract<CrossAppAccessEvent, { type: T }>[] {
    // Filtered by what tells the union apart.
    return this.events.filter((event) => event.type === type) as Extract<CrossAppAccessEvent, { type: T }>[]
  }
}
