import type { AnyFetch } from '../protocol/context.ts'

/**
 * A fetch that heeds the proxies of the environment and trusts further certificate authorities, as Node's own does not;
 * nothing if neither is wanted.
 *
 * @throws `TypeError` that names the variable which is no URL of a proxy.
 */
export async function fetchFor(
  ca: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<AnyFetch | undefined> {
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].filter(
    (name) => (env[name] ?? '') !== '',
  )
  for (const name of proxies) {
    // Not quoted: there may be a password in it.
    if (!/^(?:https?|socks5?):\/\//i.test(env[name] ?? '') || !URL.canParse(env[name] ?? ''))
      throw new TypeError(
        `${name} is no URL of a proxy: write it in full, such as http://proxy.example:8080.`,
      )
  }
  if (proxies.length === 0 && ca === undefined) return undefined
  const { createFetch } = await import('../adapters/undici/index.ts')
  return createFetch({
    allowPrivateAddresses: true,
    ...(proxies.length > 0 && { proxy: 'environment' }),
    ...(ca !== undefined && { ca }),
  })
}
