/** What the demo tells, as it happens. With `--json` each is one line. No event holds a token or a secret. */
export type DemoEvent =
  | { type: 'parties'; parties: Party[] }
  /** `number` 0 is the sign-in. `parallel`: how many calls start at the same moment. */
  | { type: 'chapter'; number: number; title: string; intro: string; parallel?: number }
  | Hop
  /** What somebody decides or does without a word over the network. */
  | Note
  /** Time that has to pass. */
  | { type: 'countdown'; seconds: number; text: string }
  /** What the MCP client got for its calls. */
  | { type: 'answer'; tool: string; text: string; calls: number }
  | { type: 'cost'; chapter: number; spent: Cost }
  | { type: 'summary'; rows: SummaryRow[]; total: SummaryRow; flowRequests: number; ms: number }
  /** With `--fleet`: what each chapter cost all processes together, and what it would have cost without a store. */
  | { type: 'fleet_summary'; processes: number; rows: FleetRow[]; ms: number }
  /** With `--serve`: the servers are up, and what a client needs to use them. */
  | { type: 'serving'; desk: string; mcpUrl: string; snippet: string }
  | { type: 'failure'; message: string; hint?: string }

/** `event`: the type of the event of xaa-fetch behind it. */
export interface Note {
  type: 'note'
  who: 'xaa-fetch' | 'application' | 'administrator' | `process ${number}`
  text: string
  event?: string
}

/** One of those who talk to each other. */
export interface Party {
  name: 'client' | 'idp' | 'as' | 'mcp'
  url?: string
  role: string
}

/** One request and its answer. */
export interface Hop {
  type: 'hop'
  from: string
  to: string
  method: string
  /** Path, without what is different each time. */
  endpoint: string
  /** What it is for, if the path does not say. */
  about?: string
  /** Missing if no answer came. */
  status?: number
  ms: number
  sent: Exhibit[]
  received: Exhibit[]
}

/** Something that travelled: a token, a document, a challenge; with what is worth knowing of it. */
export interface Exhibit {
  /** `'ID-JAG 2'`: the second one of this run. */
  what: string
  /** In words, times included. */
  claims: Record<string, string>
}

/** What was spent. `calls` are requests of the MCP client, `requests` all that went over the network. */
export interface Cost {
  calls: number
  exchanges: number
  grants: number
  requests: number
}

/** One line of the final table. */
export interface SummaryRow {
  chapter: number
  title: string
  spent: Cost
  /** What a client that runs the whole flow for each call would have spent. */
  uncached: Cost
}

/** One line of the final table of a fleet. */
export interface FleetRow {
  chapter: number
  title: string
  calls: number
  exchanges: number
  /** What processes that share nothing would have spent. */
  alone: number
}

/** Takes what the demo tells. */
export type Tell = (event: DemoEvent) => void
