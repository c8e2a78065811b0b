/** Whether tokens and credentials may be sent to a URL: `https:`, or `http:` to this very machine (A3). */
export function isSecureUrl(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { protocol, hostname } = new URL(url)
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname))
}

/** Whether an endpoint that a document of `issuer` names may be used: one on this machine only if the issuer is too (F4). */
export function isSecureEndpoint(url: string, issuer: string): boolean {
  if (!isSecureUrl(url)) return false
  const { protocol, username, password } = new URL(url)
  // No fetch takes a URL with a user name, and documents name no passwords.
  if (username !== '' || password !== '') return false
  return protocol === 'https:' || isLoopback(new URL(issuer).hostname)
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}
