import type { Configuration } from '../options/configuration.ts'
import type { CrossAppAccessOptions } from '../options/options.ts'
import { generateDpopKeyPair } from '../protocol/dpop.ts'
import type { DpopKey } from '../protocol/dpop.ts'
import { checkSignatures } from './check-signatures.ts'
import { observeCoverage, subjectOf } from './coverage.ts'
import type { Subject } from './coverage.ts'
import { Documents } from './documents.ts'
import { lookAround } from './look-around.ts'
import { enter, knock } from './mcp-server.ts'
import type { Progress, Report } from './report.ts'
import { runFlow } from './run-flow.ts'
import { nothingSeen } from './seen.ts'
import type { Walk } from './walk.ts'
import { writeReport } from './write-report.ts'

/** How a diagnosis is run. */
export interface DiagnoseInit {
  /** Ends the diagnosis; it rejects with the signal's reason. */
  signal?: AbortSignal
  /** Called with what happens, as it happens. What it throws is ignored. */
  onProgress?: (progress: Progress) => void
  /**
   * @internal Resources of the settings file, if none of them covers the URL and the command has added one that does.
   */
  notCoveredBy?: readonly string[]
}

/**
 * Walks the whole flow once, hop by hop, and says what is wrong with it.
 *
 * It sends what the library would send and nothing else: a request without a token, the documents, the exchange, the
 * grant, a request with the token (an MCP `initialize`, whose session is ended again). Nothing is retried, and no wider
 * scope or stronger authentication is asked for. From the point at which the library would stop, no token is sent, but documents,
 * keys and the ID token are still looked at. Tokens are decoded; the signatures of ID token and ID-JAG are checked
 * against the keys of the identity provider, that of the access token is not. The first finding is what the error of the
 * library has as its hint, unless a look at the keys explains the refusal.
 *
 * Its requests, those to the MCP server too, go through `options.fetch`, else the global fetch. It costs one ID-JAG and one
 * access token, which are not kept. The report holds no token and no secret, but claims of the user.
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
 * @param options - The same options that `withCrossAppAccess` takes.
 * @param url - The MCP server, or a URL below it.
 * @returns A report, also if nothing works. If no resource covers the URL, but one on the same host was probably meant
 *   to, the first finding is `url_not_covered`, and the rest of the flow is walked as if it did.
 * @throws `TypeError` for options that are wrong, and for a URL that is on the host of no resource.
 */
export async function diagnose(
  options: CrossAppAccessOptions,
  url: string | URL,
  init: DiagnoseInit = {},
): Promise<Report> {
  const parsed = URL.canParse(String(url)) ? new URL(String(url)) : undefined
  const subject = parsed && subjectOf(options, parsed)
  if (parsed === undefined || subject === undefined) {
    throw new TypeError('The URL lies under none of the configured resources, nor near one of them')
  }
  const notCoveredBy = subject.notCoveredBy ?? init.notCoveredBy
  return await walkThrough({ ...subject, ...(notCoveredBy && { notCoveredBy }) }, parsed.href, init)
}

async function walkThrough(
  { configuration, resource, notCoveredBy }: Subject,
  url: string,
  { signal, onProgress }: DiagnoseInit,
): Promise<Report> {
  const tell = (progress: Progress) => {
    try {
      onProgress?.(progress)
    } catch {
      // A listener that throws never breaks a diagnosis (G6).
    }
  }
  const seen = nothingSeen(configuration, resource, url, tell)
  const walk: Walk = { seen, signal, tell, dpop: await dpopKeyOf(configuration) }
  if (notCoveredBy !== undefined) seen.observations.push(...observeCoverage(url, notCoveredBy))
  const documents = new Documents(seen)
  const demand = await knock(walk)
  if (seen.recorder.last('challenge')?.response !== undefined) await runFlow(walk, documents, demand)
  await lookAround(walk, documents)
  await checkSignatures(walk)
  if (seen.acquired !== undefined) await enter(walk, seen.acquired)
  await seen.recorder.settled()
  signal?.throwIfAborted()
  return writeReport(seen)
}

async function dpopKeyOf({ dpop }: Configuration): Promise<DpopKey | undefined> {
  return dpop && { keyPair: dpop.keyPair ?? (await generateDpopKeyPair()), nonces: new Map() }
}
