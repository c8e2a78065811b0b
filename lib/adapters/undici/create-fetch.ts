import { readFileSync } from 'node:fs'
import * as tls from 'node:tls'
import type { SecureContext } from 'node:tls'
import { Agent, EnvHttpProxyAgent, ProxyAgent } from 'undici'
import type { Dispatcher, fetch } from 'undici'
import { ownCopy } from '../../protocol/own-members.ts'
import { AddressGuard, isThisMachine } from './address-guard.ts'
import type { AnyDispatch, Dispatch } from './dispatch.ts'
import { fetchOver } from './fetch-over.ts'

/** Options of {@link createFetch}. Read once: later changes have no effect. */
export interface FetchOptions {
  /**
   * Carries every request, as it is: a dispatcher of undici 7 or 8. Never together with any other option. Default: one
   * made of the other options.
   */
  dispatcher?: { dispatch: AnyDispatch }
  /**
   * URL of an HTTP proxy, with user name and password if it wants them; or `'environment'`: what `HTTPS_PROXY`,
   * `HTTP_PROXY` and `NO_PROXY` say, though never for loopback addresses. Default: none.
   */
  proxy?: string
  /** Certificate authorities, as PEM, to trust in addition to those of Node; for a proxy too. Default: none. */
  ca?: string | Buffer | readonly (string | Buffer)[]
  /** Certificate of this client, as PEM, for servers that ask for one. Only together with `key`. Default: none. */
  cert?: string | Buffer
  /** Private key of `cert`, as PEM. */
  key?: string | Buffer
  /** Passphrase of `key`. Default: none. */
  passphrase?: string
  /**
   * Hosts that may have private, loopback and link-local addresses: true for all, or their names, exactly. Others are
   * refused when the connection is made. Default: false, none may.
   */
  allowPrivateAddresses?: boolean | readonly string[]
}

/**
 * Makes a fetch for the requests to the identity provider and the authorization servers, for networks with a proxy, a
 * certificate authority of their own, or servers that want a client certificate.
 *
 * Private, loopback and link-local addresses are refused, unless the host is allowed to have one. The address that is
 * checked is the one that is connected to, after each redirect too, so it does not help to change the address of a name.
 *
 * > [!NOTE]
 * > With a proxy, the proxy resolves names, so they are not checked. Hosts that are addresses themselves are still refused.
 *
 * @example
 * ```ts
 * import { readFileSync } from 'node:fs'
 * import { withCrossAppAccess } from 'xaa-fetch'
 * import { createFetch } from 'xaa-fetch/undici'
 *
 * declare const session: { idToken: string }
 *
 * const xaaFetch = withCrossAppAccess({
 *   idp: { issuer: 'https://login.acme.example', clientId: 'wiki' },
 *   authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
 *   resources: ['https://mcp.chat.example/mcp'],
 *   getIdToken: () => session.idToken,
 *   fetch: createFetch({
 *     proxy: 'environment',
 *     ca: readFileSync('/etc/ssl/acme.pem'),
 *     allowPrivateAddresses: ['login.acme.example'],
 *   }),
 * })(fetch)
 * ```
 *
 * @returns A fetch of undici. It keeps connections open for a while, as every one does, and none of them keeps a process
 *   running. What it refuses to connect to rejects with a `TypeError` whose `cause` has the code `ERR_PRIVATE_ADDRESS`.
 * @throws `TypeError` for options that are unknown, malformed or contradict each other.
 */
export function createFetch(options: FetchOptions = {}): typeof fetch {
  return fetchOver(dispatchOf(check(ownCopy(options))))
}

function dispatchOf(options: FetchOptions): Dispatch {
  const { dispatcher, proxy, allowPrivateAddresses = false } = options
  // The dispatch functions of all versions of undici are alike in what is used of them here.
  if (dispatcher !== undefined) return dispatcher.dispatch.bind(dispatcher)
  const guard = allowPrivateAddresses === true ? undefined : new AddressGuard(allowPrivateAddresses || [])
  const contexts = secureContexts(options)
  // Of a connection that we make ourselves, of one through a proxy, and of the one to the proxy, which may be near.
  const connect = { ...contexts.server, ...(guard && { lookup: guard.lookup }) }
  const made = agentOf(proxy, { connect, requestTls: contexts.server, proxyTls: contexts.proxy })
  // Without TLS a proxy would read it, and take its own machine for this one.
  const near = proxy === 'environment' ? new Agent({ connect }) : made
  return (request, handler) => {
    const { origin = '' } = request
    guard?.check(origin)
    return (isThisMachine(origin) ? near : made).dispatch(request, handler)
  }
}

function agentOf(proxy: string | undefined, options: Omit<ProxyAgent.Options, 'uri'>): Dispatcher {
  if (proxy === undefined) return new Agent(options)
  return proxy === 'environment' ? new EnvHttpProxyAgent(options) : new ProxyAgent({ ...options, uri: proxy })
}

interface TlsOptions {
  secureContext?: SecureContext
}

/** Made once: to parse all that Node trusts takes a while. The client certificate is not for proxies. */
function secureContexts({ ca, cert, key, passphrase }: FetchOptions): {
  server: TlsOptions
  proxy: TlsOptions
} {
  const trust = ca === undefined ? {} : { ca: [...nodeTrusts(), ...[ca].flat()] }
  const identity = {
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(passphrase !== undefined && { passphrase }),
  }
  const proxy = ca === undefined ? {} : { secureContext: tls.createSecureContext(trust) }
  if (cert === undefined) return { server: proxy, proxy }
  return { server: { secureContext: tls.createSecureContext({ ...trust, ...identity }) }, proxy }
}

/** What Node trusts without being told. `ca` alone would replace it. */
function nodeTrusts(): readonly string[] {
  // Node 22.15 and later.
  const { getCACertificates } = tls as { getCACertificates?: (type: 'default') => string[] }
  if (getCACertificates !== undefined) return getCACertificates('default')
  const { NODE_EXTRA_CA_CERTS: extra } = process.env
  try {
    return [...tls.rootCertificates, ...(extra === undefined ? [] : [readFileSync(extra, 'utf8')])]
  } catch {
    // Node has warned of it.
    return tls.rootCertificates
  }
}

const known = ['dispatcher', 'proxy', 'ca', 'cert', 'key', 'passphrase', 'allowPrivateAddresses']

function check(options: FetchOptions): FetchOptions {
  const { dispatcher, proxy, cert, key, passphrase, allowPrivateAddresses: allowed } = options
  const given = Object.keys(options).filter((name) => options[name as keyof FetchOptions] !== undefined)
  const problems = [
    ...given.filter((name) => !known.includes(name)).map((name) => `${name}: is not known`),
    ...(dispatcher !== undefined && given.length > 1 ? ['dispatcher: excludes all other options'] : []),
    ...(dispatcher !== undefined && typeof dispatcher.dispatch !== 'function'
      ? ['dispatcher: must be a dispatcher of undici']
      : []),
    ...(proxy !== undefined && proxy !== 'environment' && !/^https?:$/.test(protocolOf(proxy))
      ? ["proxy: must be an http or https URL, or 'environment'"]
      : []),
    ...((cert === undefined) !== (key === undefined) ? ['cert, key: go together'] : []),
    ...(passphrase !== undefined && key === undefined ? ['passphrase: is for a key'] : []),
    ...(allowed !== undefined && typeof allowed !== 'boolean' && !isListOfText(allowed)
      ? ['allowPrivateAddresses: must be true, false or a list of host names']
      : []),
  ]
  if (problems.length > 0) throw new TypeError(`Invalid options: ${problems.join('; ')}`)
  return options
}

function protocolOf(url: unknown): string {
  return typeof url === 'string' && URL.canParse(url) ? new URL(url).protocol : ''
}

function isListOfText(value: unknown): boolean {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string')
}
