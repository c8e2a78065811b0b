/** One of the three servers of a test enterprise. */
export type TestParty = 'idp' | 'authorization_server' | 'mcp_server'

export const parties: readonly TestParty[] = ['idp', 'authorization_server', 'mcp_server']

/** What a request is for: a step of the flow, `'call'` for a request to the MCP server itself, `'none'` for a wrong path. */
export type TestStep = 'discovery' | 'id_token' | 'token_exchange' | 'access_token' | 'call' | 'none'

/** One request that the enterprise was sent. It holds no token, no secret and no query string. */
export interface TestRequest {
  /** The server that was asked. */
  readonly party: TestParty
  /** What it was asked for. */
  readonly step: TestStep
  /** HTTP method. */
  readonly method: string
  /** Origin and path. */
  readonly url: string
  /** HTTP status of the answer; 0 if there was none. */
  readonly status: number
  /** The user for whom it was made, if it came as far as that. */
  readonly user?: string
}

/** How often the enterprise was asked since it was created or reset. */
export interface TestCounts {
  /** Token exchanges that reached the identity provider, refused ones included. */
  readonly exchanges: number
  /** Grants that reached the authorization server, refused ones included. */
  readonly grants: number
  /** Requests that reached the MCP server, refused ones included and its metadata not. */
  readonly calls: number
}

/** A record whose answer is not there yet. */
type OpenRecord = { -readonly [K in keyof TestRequest]: TestRequest[K] }

/** What the enterprise was asked, in order. */
export class RequestLog {
  /** The same list for as long as the enterprise lives, so that whoever holds it sees what comes. */
  readonly records: OpenRecord[] = []
  readonly counts: { -readonly [K in keyof TestCounts]: number } = { exchanges: 0, grants: 0, calls: 0 }

  /** Notes a request before it is answered. */
  open(record: Omit<TestRequest, 'status' | 'user'>): OpenRecord {
    const open: OpenRecord = { ...record, status: 0 }
    this.records.push(open)
    return open
  }

  /** Counts a request that reached its party. */
  count(step: TestStep): void {
    if (step === 'token_exchange') this.counts.exchanges++
    if (step === 'access_token') this.counts.grants++
    if (step === 'call') this.counts.calls++
  }

  clear(): void {
    this.records.length = 0
    Object.assign(this.counts, { exchanges: 0, grants: 0, calls: 0 })
  }
}
