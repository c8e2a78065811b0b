import { createServer } from 'node:http'
import { connect } from 'node:net'
import { generate } from 'selfsigned'
import { listen } from '../support/listen.ts'

export interface Certificate {
  cert: string
  key: string
}

/** A certificate authority of our own. */
export async function certificateAuthority(): Promise<
  Certificate & { issue: (...hosts: string[]) => Promise<Certificate> }
> {
  const authority = await generate([{ name: 'commonName', value: 'Acme root' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, critical: true },
    ],
  })
  const ca = { key: authority.private, cert: authority.cert }
  const issue = async (...hosts: string[]): Promise<Certificate> => {
    const altNames = hosts.map((value) => ({ type: 2, value }) as const)
    const { cert, private: key } = await generate([{ name: 'commonName', value: hosts[0] ?? '' }], {
      keyType: 'ec',
      algorithm: 'sha256',
      ca,
      extensions: [{ name: 'subjectAltName', altNames }],
    })
    return { cert, key }
  }
  return { ...ca, issue }
}

/** A proxy for tunnels, which takes every name for this machine, and every port for one if it is told so. */
export async function startProxy({
  credentials,
  port: target,
}: { credentials?: string; port?: number } = {}) {
  const tunnels: string[] = []
  const server = createServer((_, response) => response.writeHead(405).end())
  server.on('connect', (request, socket) => {
    const { url = '', headers } = request
    const basic = credentials && `Basic ${Buffer.from(credentials).toString('base64')}`
    if (headers['proxy-authorization'] !== basic) return void socket.end('HTTP/1.1 407 No\r\n\r\n')
    tunnels.push(url)
    const upstream = connect(target ?? Number(url.split(':').at(-1)), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      upstream.pipe(socket).pipe(upstream)
    })
    upstream.on('error', () => socket.destroy())
    socket.on('close', () => upstream.destroy())
  })
  const { port, close } = await listen(server)
  return { url: `http://${credentials ? `${credentials}@` : ''}127.0.0.1:${port}`, tunnels, close }
}
