import type { CrossAppAccessErrorCode, CrossAppAccessStep, OAuthErrorFields, Place } from '../errors.ts'

/** Who takes part in the flow. */
export type Party = 'client' | 'identity_provider' | 'authorization_server' | 'mcp_server'

/** What comes of the flow: of use to a program that asks for one word. */
export type Outcome =
  /** A token was obtained, and the MCP server takes it. */
  | 'healthy'
  /** Something has to be changed. */
  | 'misconfigured'
  /** The user or the client is refused: by policy, or until the user signs in again. */
  | 'denied'
  /** A party does not answer. */
  | 'unreachable'

/** What a request of the diagnosis was for. */
export type ExchangeStep =
  /** A request to the MCP server without a token, to be challenged. */
  | 'challenge'
  | 'protected_resource_metadata'
  | 'authorization_server_metadata'
  | 'identity_provider_metadata'
  | 'identity_provider_keys'
  /** A SAML assertion for a refresh token. */
  | 'saml_exchange'
  | 'token_exchange'
  | 'access_token'
  /** A request to the MCP server with the access token. */
  | 'mcp_request'

/** One request and its answer, without anything secret. */
export interface Exchange {
  /** What it was for. */
  step: ExchangeStep
  /** Whom it was sent to. */
  party: Party
  /** What was asked, without secrets. */
  request: {
    method: string
    /** Origin and path. */
    endpoint: string
    /** How this client authenticated, if it did. */
    authentication?: string
    /** Parameters of the form. Of secrets only their kind and size are told. */
    parameters?: Record<string, string>
  }
  /** Absent if no answer came. */
  response?: {
    status: number
    mediaType?: string
    /** `Date`, as the server wrote it. */
    date?: string
    /** `WWW-Authenticate`. */
    challenge?: string
    /** Where it redirects to: origin and path. */
    location?: string
    /** Title of a web page. */
    pageTitle?: string
    /** Members of a JSON answer that the flow looks at. */
    members?: Record<string, unknown>
  }
  /** Why no answer came. */
  failure?: string
  /** Milliseconds since the diagnosis began. */
  startedAt: number
  /** Milliseconds until the answer was read. */
  durationMs: number
  /** `passed_over`: of no use, but another place was. */
  verdict: 'good' | 'bad' | 'passed_over'
}

/** A token that was seen, as far as it can be read. Its signature and itself are not kept. */
export interface DecodedToken {
  /** `encrypted`: a JWT that only its recipient can read. */
  format: 'jwt' | 'encrypted' | 'opaque'
  /** Type of a subject token that is no ID token. */
  type?: string
  /** Members of the JWT's header. */
  header?: Record<string, unknown>
  /** Members of the JWT's payload. */
  claims?: Record<string, unknown>
  /** Against the published keys of its issuer. */
  signature?: 'valid' | 'invalid' | 'unknown_key'
}

/** Two values that have to agree, or a value and what it has to be. */
export interface Comparison {
  /** Stable, such as `id_jag.aud`. */
  id: string
  /** What is compared. */
  title: string
  /** What it has to be, and who says so. */
  expected: { source: string; value: string }
  /** What it is, and where. */
  actual: { source: string; value: string }
  /** Whether they agree. */
  verdict: 'match' | 'mismatch' | 'unknown'
  /** What is peculiar about the difference. */
  note?: string
}

/** The clock of a server, by the `Date` of its first answer. */
export interface ServerClock {
  /** Whose clock it is. */
  party: Party
  /** Seconds it is ahead of this machine; behind if negative. Exact to a second or two. */
  aheadSeconds: number
}

/** Something that is wrong, or worth knowing. */
export interface ReportedFinding {
  /** Stable, for documents and tests. */
  id: string
  /** `error`: the flow does not work because of it. `warning`: it may not. `note`: good to know. */
  severity: 'error' | 'warning' | 'note'
  /** What is wrong, in a few words. */
  title: string
  /** What to change, in one sentence. The same as the `hint` of the error, if there is one. */
  advice: string
  /** Where to change it. */
  place: Place
  /** What was seen. */
  evidence: { label: string; value: string }[]
  /** Where a standard speaks of it. */
  reference?: { title: string; url: string }
}

/** What the library throws with these options. */
export interface ReportedError {
  /** As in `CrossAppAccessError`. */
  code: CrossAppAccessErrorCode
  /** As in `CrossAppAccessError`. */
  step: CrossAppAccessStep
  /** As in `CrossAppAccessError`. */
  message: string
  /** As in `CrossAppAccessError`. */
  hint: string
  /** As in `CrossAppAccessError`. */
  endpoint?: string
  /** As in `CrossAppAccessError`. */
  status?: number
  /** As in `CrossAppAccessError`. */
  oauthError?: OAuthErrorFields
  /** As in `CrossAppAccessError`. */
  retryAfter?: number
  /** As in `CrossAppAccessError`. */
  acrValues?: string
  /** As in `CrossAppAccessError`. */
  maxAge?: number
  /** As in `CrossAppAccessError`. */
  interactionUri?: string
}

/** What {@link diagnose} found. Plain data, without a token or a secret; claims of the user are in it. */
export interface Report {
  /** Version of this format. */
  version: 1
  /** The URL that was asked for: origin and path. */
  url: string
  /** When the diagnosis began, as ISO 8601. */
  startedAt: string
  /** Milliseconds that the diagnosis took. */
  durationMs: number
  /** What came of it, in one word. */
  outcome: Outcome
  /** The outcome in one sentence. */
  summary: string
  /** What the library throws, if it does. */
  error?: ReportedError
  /** Most important first. */
  findings: ReportedFinding[]
  /** In the order in which they began. */
  exchanges: Exchange[]
  /** The tokens that were seen, decoded. They are not in it themselves. */
  tokens: { idToken?: DecodedToken; idJag?: DecodedToken; accessToken?: DecodedToken }
  /** What has to agree, and whether it does. */
  comparisons: Comparison[]
  /** How far the clocks of the servers are from this one. */
  clocks: ServerClock[]
  /** Which kind of Okta's servers the identity provider is, if it is one. Only `org` issues ID-JAGs. */
  okta?: 'org' | 'custom'
}

/** What happens while a diagnosis runs. */
export type Progress =
  | { type: 'request'; step: ExchangeStep; party: Party; endpoint: string }
  | { type: 'answer'; exchange: Exchange }
  | { type: 'id_token_wanted' }

/** Names of the parties, for people. */
export const partyNames: Record<Party, string> = {
  client: 'client',
  identity_provider: 'identity provider',
  authorization_server: 'authorization server',
  mcp_server: 'MCP server',
}

/** Names of places, for people. */
export const placeNames: Record<Place, string> = { ...partyNames, network: 'network', user: 'user' }

/** Names of the steps, for people. The name of the party stands before them. */
export const stepNames: Record<ExchangeStep, string> = {
  challenge: 'request without a token',
  protected_resource_metadata: 'protected-resource metadata',
  authorization_server_metadata: 'metadata',
  identity_provider_metadata: 'metadata',
  identity_provider_keys: 'keys',
  saml_exchange: 'SAML assertion for a refresh token',
  token_exchange: 'ID token for an ID-JAG',
  access_token: 'ID-JAG for an access token',
  mcp_request: 'request with the access token',
}
