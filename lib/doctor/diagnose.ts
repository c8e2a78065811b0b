import { startDeadline } from '../token/deadline.ts'
import { discard } from '../request/discard.ts'
import { CrossAppAccessError } from '../errors.ts'
import { parseOptions } from '../options/configuration.ts'
import type { Configuration } from '../options/configuration.ts'
import type { CrossAppAccessOptions } from '../options/options.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { resourceOf } from '../request/resource-locator.ts'
import { acquire } from '../protocol/acquire.ts'
import type { AcquireContext, Acquired, MetadataSource } from '../protocol/acquire.ts'
import { readDemand, scopeTokens } from '../protocol/challenge.ts'
import type { Demand } from '../protocol/challenge.ts'
import { secretsOf } from '../protocol/client-authentication.ts'
import type { AnyFetch } from '../protocol/context.ts'
import { discoverAuthorizationServer, discoverProtectedResource } from '../protocol/discovery.ts'
import type { Discovered } from '../protocol/discovery.ts'
import type { AuthorizationServerMetadata } from '../protocol/metadata.ts'
import { dpopProof, generateDpopKeyPair, rememberNonce } from '../protocol/dpop.ts'
import type { DpopKey } from '../protocol/dpop.ts'
import { findings } from '../protocol/findings.ts'
import { isSecureUrl, requestJson } from '../protocol/http.ts'
import { Secrets, withoutQuery } from '../protocol/redaction.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import { askForSubjectToken } from '../protocol/subject-token.ts'
import type { GetIdToken, SubjectToken } from '../protocol/subject-token.ts'
import { checkSignature, decodeToken } from './decoded-token.ts'
import { observeChallenge, observeEntrance, observeSignature } from './observations.ts'
import type { Observation } from './observations.ts'
import { Recorder } from './recorder.ts'
import type { Exchange, ExchangeStep, Party, Progress, Report } from './report.ts'
import { writeReport } from './write-report.ts'

/** How a diagnosis is run. */
export interface DiagnoseInit {
  /** Ends the diagnosis; it rejects with the signal's reason. */
  signal?: AbortSignal
  /** Told what happens, as it happens. What it throws is ignored. */
  onProgress?: (progress: Progress) => void
}

/**
 * Walks the whole flow once, hop by hop, and says what is wrong with it.
 *
 * It sends what the library would send and nothing else: a request without a token, the documents, the exchange, the
 * grant, a request with the token (an MCP `initialize`, whose session is ended again). Nothing is retried, and no wider
 * scope or stronger authentication asked for. Where the library would stop, no token is sent any more, but documents,
 * keys and the ID token are still looked at. Tokens are decoded; the signatures of ID token and ID-JAG are checked
 * against the keys of the identity provider, that of the access token is not. The first finding is what the error of the
 * library has as its hint, unless a look at the keys explains the refusal.
 *
 * Its requests, those to the MCP server too, go through `options.fetch`, else the global fetch of that moment. It costs
 * one ID-JAG and one access token, which are not kept. The report holds no token and no secret, but claims of the user.
 *
 * @example
 * ```ts
 * import { diagnose, renderText } from 'xaa-fetch/doctor'
 *
 * declare const session: { idToken: string }
 *
 * const report = await diagnose(
 *   {
 *     idp: { issuer: 'https://acme.okta.com', clientId: 'wiki' },
 *     authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
 *     resources: ['https://mcp.chat.example/mcp'],
 *     getIdToken: () => session.idToken,
 *   },
 *   'https://mcp.chat.example/mcp',
 * )
 * console.log(renderText(report))
 * ```
 *
 * @param options - The very options of {@link withCrossAppAccess}.
 * @param url - The MCP server, or a URL below it.
 * @returns A report, also where nothing works.
 * @throws `TypeError` for options that are wrong, and outside every resource.
 */
export async function diagnose(
  options: CrossAppAccessOptions,
  url: string | URL,
  init: DiagnoseInit = {},
): Promise<Report> {
  const configuration = parseOptions(options)
  const parsed = URL.canParse(String(url)) ? new URL(String(url)) : undefined
  const resource = parsed && resourceOf(configuration, parsed)
  if (parsed === undefined || resource === undefined) {
    throw new TypeError('The URL lies under none of the configured resources')
  }
  return await new Diagnosis(configuration, resource, parsed.href, init).run()
}

/** What a diagnosis has come to know. */
export interface Seen {
  readonly configuration: Configuration
  readonly resource: ResourceConfiguration
  readonly url: string
  readonly startedAt: number
  readonly secrets: Secrets
  readonly recorder: Recorder
  readonly tokens: Report['tokens']
  /** What is wrong, in the order in which it was seen. */
  readonly observations: Observation[]
  /** What the library throws. */
  error?: CrossAppAccessError
  /** Further failures, of what the library did not come to. */
  readonly laterErrors: CrossAppAccessError[]
  acquired?: Acquired
}

class Diagnosis {
  readonly #seen: Seen
  readonly #signal: AbortSignal | undefined
  readonly #onProgress: (progress: Progress) => void
  /** Documents that were asked for, by issuer. */
  readonly #documents = new Map<string, Promise<unknown>>()
  #dpop: DpopKey | undefined
  #subjectToken: string | undefined

  constructor(
    configuration: Configuration,
    resource: ResourceConfiguration,
    url: string,
    { signal, onProgress }: DiagnoseInit,
  ) {
    const { clock } = configuration
    // Looked up now: the global may be wrapped, and replaced later.
    const fetch: AnyFetch = configuration.fetch ?? globalThis.fetch
    this.#signal = signal
    this.#onProgress = (progress) => {
      try {
        onProgress?.(progress)
      } catch {
        // A listener that throws never breaks a diagnosis.
      }
    }
    const secrets = new Secrets()
    for (const registration of [configuration.idp, ...configuration.authorizationServers])
      secrets.add(...secretsOf(registration))
    this.#seen = {
      configuration,
      resource,
      url,
      startedAt: clock.now(),
      secrets,
      recorder: new Recorder(fetch, secrets, clock, this.#onProgress),
      tokens: {},
      observations: [],
      laterErrors: [],
    }
  }

  async run(): Promise<Report> {
    const { configuration } = this.#seen
    if (configuration.dpop !== undefined) {
      const keyPair = configuration.dpop.keyPair ?? (await generateDpopKeyPair())
      this.#dpop = { keyPair, nonces: new Map() }
    }
    const demand = await this.#knock()
    if (this.#seen.recorder.last('challenge')?.response !== undefined) await this.#acquire(demand)
    await this.#lookAround()
    await this.#checkSignatures()
    if (this.#seen.acquired !== undefined) await this.#enter(this.#seen.acquired)
    await this.#seen.recorder.settled()
    this.#signal?.throwIfAborted()
    return writeReport(this.#seen)
  }

  // ---- The MCP server ------------------------------------------------------------------------------------------------

  /** A request without a token, to see what is asked for. */
  async #knock(): Promise<Demand | undefined> {
    const { observations } = this.#seen
    const { response, exchange, silence } = await this.#askMcpServer('challenge', {})
    const demand = response && this.#demandOf(response)
    observations.push(...(silence ?? observeChallenge(exchange, demand)))
    if (!observations.some(({ severity }) => severity === 'error')) exchange.verdict = 'good'
    return demand
  }

  /** A request with the access token, and the end of the session that it may have opened. */
  async #enter({ grant, target }: Acquired): Promise<void> {
    const { configuration, observations, tokens, url } = this.#seen
    const send = async () => await this.#askMcpServer('mcp_request', await this.#authorize('POST', grant))
    let { response, exchange, silence } = await send()
    if (response !== undefined && this.#dpop !== undefined && this.#demandOf(response)?.kind === 'nonce') {
      rememberNonce(this.#dpop, url, response.headers)
      exchange.verdict = 'passed_over'
      ;({ response, exchange, silence } = await send())
    }
    const { resource, server } = target
    const expected = { tokens, issuer: server.issuer, resource, stepUp: configuration.stepUp }
    const demand = response && this.#demandOf(response)
    const found = silence ?? observeEntrance(exchange, demand, expected)
    observations.push(...found)
    if (!found.some(({ severity }) => severity === 'error')) exchange.verdict = 'good'
    const session = response?.headers.get('mcp-session-id')
    if (typeof session === 'string') await this.#endSession(session, grant)
  }

  async #askMcpServer(
    step: 'challenge' | 'mcp_request',
    headers: Record<string, string>,
  ): Promise<{ response?: Response; exchange: Exchange; silence?: Observation[] }> {
    const { configuration, recorder, url } = this.#seen
    const deadline = startDeadline(configuration.timeouts.requestMs, this.#signal)
    const fetch = recorder.fetchFor({ step, party: 'mcp_server' })
    // Recorded before it is sent.
    const exchange = () => recorder.last(step) as Exchange
    try {
      const response = (await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          ...headers,
        },
        body: JSON.stringify(initialize),
        redirect: 'manual',
        signal: deadline.signal,
      })) as Response
      await recorder.settled()
      discard(response)
      return { response, exchange: exchange() }
    } catch {
      this.#signal?.throwIfAborted()
      const finding = deadline.signal.aborted ? findings.timedOut() : findings.unreachable()
      return { exchange: exchange(), silence: [{ finding, severity: 'error', exchange: exchange() }] }
    } finally {
      deadline.clear()
    }
  }

  async #endSession(session: string, grant: Acquired['grant']): Promise<void> {
    const { configuration, url } = this.#seen
    const fetch = configuration.fetch ?? globalThis.fetch
    const deadline = startDeadline(configuration.timeouts.requestMs, this.#signal)
    try {
      const headers = { ...(await this.#authorize('DELETE', grant)), 'mcp-session-id': session }
      const response = (await fetch(url, {
        method: 'DELETE',
        headers,
        redirect: 'manual',
        signal: deadline.signal,
      })) as Response
      discard(response)
    } catch {
      // The server ends it by itself, in its own time.
    } finally {
      deadline.clear()
    }
  }

  async #authorize(method: string, { tokenType, value }: Acquired['grant']): Promise<Record<string, string>> {
    const authorization = `${tokenType} ${value}`
    if (tokenType !== 'DPoP' || this.#dpop === undefined) return { authorization }
    const { clock } = this.#seen.configuration
    const request = { method, url: this.#seen.url, accessToken: value }
    return { authorization, dpop: await dpopProof(this.#dpop, request, clock) }
  }

  #demandOf({ status, headers }: Response): Demand | undefined {
    const { acquired, configuration } = this.#seen
    const { authorizationServers, idp } = configuration
    // What a hostile server may echo.
    const secrets = [...[idp, ...authorizationServers].flatMap(secretsOf), acquired?.grant.value]
    return readDemand(status, headers.get('www-authenticate'), this.#dpop !== undefined, ...secrets)
  }

  // ---- The flow ------------------------------------------------------------------------------------------------------

  /** The flow as the library runs it, up to the access token or to the error it would throw. */
  async #acquire(demand: Demand | undefined): Promise<void> {
    const { configuration, recorder, resource, secrets, tokens, url } = this.#seen
    const deadline = startDeadline(configuration.timeouts.acquireMs, this.#signal)
    const taught =
      demand?.kind === 'token' && learnsFromChallenges(configuration, resource) ? demand : undefined
    const scope = scopeTokens(resource.scope, taught?.scope).join(' ')
    try {
      const acquired = await acquire(
        {
          url,
          resource,
          idp: configuration.idp,
          authorizationServers: configuration.authorizationServers,
          getIdToken: this.#getIdToken,
          resourceMetadata: taught?.resourceMetadata,
          ...(scope !== '' && { scope }),
          dpop: this.#dpop,
          dpopRequired: configuration.dpop?.required === true,
        },
        this.#context(deadline.signal, { metadata: this.#metadata }),
      )
      this.#seen.acquired = acquired
      tokens.accessToken = decodeToken(acquired.grant.value, secrets)
    } catch (error) {
      this.#signal?.throwIfAborted()
      if (!(error instanceof CrossAppAccessError)) throw error
      this.#seen.error = error
    } finally {
      deadline.clear()
    }
    await Promise.allSettled(this.#documents.values())
    await recorder.settled()
    this.#judgeTokenRequests()
    const idJag = recorder.body('token_exchange')?.['access_token']
    if (typeof idJag === 'string') tokens.idJag = decodeToken(idJag, secrets)
  }

  #context(signal: AbortSignal | undefined, extra: Partial<AcquireContext> = {}): AcquireContext {
    const { configuration, recorder, secrets } = this.#seen
    return {
      fetch: recorder.fetchFor('by_form'),
      clock: configuration.clock,
      secrets,
      deadline: () => startDeadline(configuration.timeouts.requestMs, signal),
      ...(signal !== undefined && { signal }),
      ...extra,
    }
  }

  /** All but the last of several requests for the same were only a beginning. */
  #judgeTokenRequests(): void {
    const { error, recorder } = this.#seen
    const failed = {
      id_token: 'none',
      discovery: 'by_endpoint',
      token_exchange: 'token_exchange',
      access_token: 'access_token',
    }
    const blamed = error && failed[error.step]
    for (const step of ['saml_exchange', 'token_exchange', 'access_token'] as const) {
      const exchanges = recorder.exchanges.filter((exchange) => exchange.step === step)
      exchanges.forEach((exchange, index) => {
        const { response, request } = exchange
        const isLast = index === exchanges.length - 1
        const toBlame =
          isLast && (blamed === step || (blamed === 'by_endpoint' && error?.endpoint === request.endpoint))
        const fine = response?.status === 200 && response.members?.['error'] === undefined
        exchange.verdict = !isLast ? 'passed_over' : fine && !toBlame ? 'good' : 'bad'
      })
    }
  }

  readonly #getIdToken: GetIdToken = async (wanted) => {
    const { configuration, secrets, tokens } = this.#seen
    this.#onProgress({ type: 'id_token_wanted' })
    if (configuration.getIdToken === undefined) throw new TypeError('No getIdToken was given in the options')
    const given = await configuration.getIdToken(wanted)
    // Boundary: the application's own code, which may give anything; it is checked by who asked.
    const { token, type } = (
      typeof given === 'string' ? { token: given, type: 'id_token' } : given
    ) as Partial<SubjectToken>
    if (typeof token === 'string') {
      secrets.add(token)
      this.#subjectToken = token
      tokens.idToken = decodeToken(token, secrets, type === 'id_token' ? undefined : type)
    }
    return given
  }

  // ---- Documents -----------------------------------------------------------------------------------------------------

  readonly #metadata: MetadataSource = {
    protectedResource: async ({ url, resource, resourceMetadata }, context) => {
      const request = {
        url,
        resource: resource.url,
        ...(resourceMetadata !== undefined && { metadataUrl: resourceMetadata }),
      }
      return await this.#document('protected_resource_metadata', 'mcp_server', resource.url, context, (own) =>
        discoverProtectedResource(request, own),
      )
    },
    server: async (registration, context) => await this.#serverMetadata(registration, context),
  }

  async #serverMetadata(
    { issuer, tokenEndpoint }: ServerRegistration,
    context: AcquireContext,
  ): Promise<AuthorizationServerMetadata> {
    if (tokenEndpoint !== undefined) return { issuer, token_endpoint: String(tokenEndpoint) }
    const ofIdp = issuer === this.#seen.configuration.idp.issuer
    const step = ofIdp ? 'identity_provider_metadata' : 'authorization_server_metadata'
    const party = ofIdp ? 'identity_provider' : 'authorization_server'
    return await this.#document(step, party, issuer, context, (own) =>
      discoverAuthorizationServer(issuer, own),
    )
  }

  async #document<T>(
    step: ExchangeStep,
    party: Party,
    name: string,
    context: AcquireContext,
    discover: (context: AcquireContext) => Promise<Discovered<T>>,
  ): Promise<T> {
    const { recorder } = this.#seen
    const before = recorder.exchanges.length
    const work = discover({ ...context, fetch: recorder.fetchFor({ step, party }) })
    this.#documents.set(name, work)
    const judge = (good: (exchange: Exchange) => boolean, otherwise: Exchange['verdict']) => {
      for (const exchange of recorder.exchanges.slice(before)) {
        if (exchange.step === step) exchange.verdict = good(exchange) ? 'good' : otherwise
      }
    }
    try {
      const { document, url } = await work
      judge(({ request }) => request.endpoint === withoutQuery(url), 'passed_over')
      return document
    } catch (error) {
      judge(() => false, 'bad')
      throw error
    }
  }

  /** What the library did not come to: nothing is sent there but requests for public documents. */
  async #lookAround(): Promise<void> {
    const { configuration, laterErrors } = this.#seen
    this.#signal?.throwIfAborted()
    const registrations = [configuration.idp, ...configuration.authorizationServers.slice(0, 4)]
    const failed = this.#seen.error !== undefined || this.#seen.acquired === undefined
    const missing = failed ? registrations.filter(({ issuer }) => !this.#documents.has(issuer)) : []
    const context = this.#context(this.#signal)
    const found: PromiseSettledResult<unknown>[] = await Promise.allSettled(
      missing.map((registration) => this.#serverMetadata(registration, context)),
    )
    const idTokenWanted = failed && this.#subjectToken === undefined && (await this.#isIdpFine())
    if (idTokenWanted) found.push(...(await Promise.allSettled([this.#readIdToken(context)])))
    this.#signal?.throwIfAborted()
    for (const outcome of found) {
      if (outcome.status === 'rejected' && outcome.reason instanceof CrossAppAccessError)
        laterErrors.push(outcome.reason)
    }
  }

  async #isIdpFine(): Promise<boolean> {
    const { idp, getIdToken } = this.#seen.configuration
    if (getIdToken === undefined || this.#seen.error?.step === 'id_token') return false
    if (idp.tokenEndpoint !== undefined) return true
    const [outcome] = await Promise.allSettled([this.#documents.get(idp.issuer)])
    return outcome.status === 'fulfilled'
  }

  /** Asks for the ID token to look at it; it goes nowhere. */
  async #readIdToken(context: AcquireContext): Promise<unknown> {
    const { configuration, resource } = this.#seen
    const audience =
      resource.audience ?? resource.authorizationServer ?? configuration.authorizationServers[0]?.issuer ?? ''
    const deadline = startDeadline(configuration.timeouts.acquireMs, this.#signal)
    try {
      const own = { ...context, signal: deadline.signal }
      return await askForSubjectToken(this.#getIdToken, { reason: 'initial', audience }, own)
    } finally {
      deadline.clear()
    }
  }

  /** Holds the ID token and the ID-JAG against the keys that the identity provider publishes. */
  async #checkSignatures(): Promise<void> {
    const { configuration, observations, recorder, tokens } = this.#seen
    const uri = recorder.body('identity_provider_metadata', configuration.idp.issuer)?.['jwks_uri']
    const looksAtJwt = tokens.idJag?.format === 'jwt' || tokens.idToken?.format === 'jwt'
    if (typeof uri !== 'string' || !looksAtJwt || !isSecureUrl(uri)) return
    const fetch = recorder.fetchFor({ step: 'identity_provider_keys', party: 'identity_provider' })
    try {
      await requestJson(uri, { method: 'GET' }, 'discovery', { ...this.#context(this.#signal), fetch })
    } catch (error) {
      if (!(error instanceof CrossAppAccessError)) throw error
    }
    await recorder.settled()
    const keys = recorder.body('identity_provider_keys')
    if (keys === undefined || !Array.isArray(keys['keys'])) return
    const exchange = recorder.last('identity_provider_keys')
    if (exchange !== undefined) exchange.verdict = 'good'
    const idJag = recorder.body('token_exchange')?.['access_token']
    const check = async (token: unknown, decoded: Report['tokens']['idJag']) => {
      if (typeof token !== 'string' || decoded?.format !== 'jwt') return
      const signature = await checkSignature(token, keys)
      if (signature !== undefined) decoded.signature = signature
    }
    await check(idJag, tokens.idJag)
    await check(this.#subjectToken, tokens.idToken)
    observations.push(...observeSignature(tokens))
  }
}

/** Whether the library sends a request without a token first, and so sees what the challenge says. */
function learnsFromChallenges(
  { acquire: when }: Configuration,
  { authorizationServer }: ResourceConfiguration,
): boolean {
  return when === 'challenge' || (when === 'auto' && authorizationServer === undefined)
}

/** The request that every MCP server answers. */
const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'xaa-doctor', version: '1' },
  },
}
