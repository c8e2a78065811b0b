import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import * as undici7 from 'undici'
import type { Dispatcher } from 'undici'

export type Undici = typeof undici7

/**
 * The versions of undici that are installed and that this Node can load, by name. undici 8 needs Node 22.19, and has a
 * package.json of its own: `npm run test:undici8` installs it, and runs these specs on a Node that is new enough.
 */
export const versions: [name: string, undici: Undici][] = [['undici 7', undici7]]
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const canLoad8 = major > 22 || (major === 22 && minor >= 19)
const folderOf8 = join(__dirname, '../undici8')
const mustLoad8 = process.env['XAA_UNDICI8'] === 'required'
if (mustLoad8 || (canLoad8 && existsSync(join(folderOf8, 'node_modules/undici8')))) {
  // Alike enough for what the specs do with it.
  versions.push(['undici 8', createRequire(join(folderOf8, 'package.json'))('undici8') as Undici])
}

export interface Call {
  method?: string
  headers?: Record<string, string>
  body?: string | Buffer
  signal?: AbortSignal
}

export interface Reply {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

export type Client = (dispatcher: Dispatcher, url: string, call?: Call) => Promise<Reply>

/** Every way in which undici sends a request. */
export function clientsOf(undici: Undici): Record<'request' | 'stream' | 'pipeline' | 'fetch', Client> {
  return {
    request: async (dispatcher, url, call) => {
      const { statusCode, headers, body } = await undici.request(url, { ...call, dispatcher })
      return { status: statusCode, headers, text: await body.text() }
    },
    stream: async (dispatcher, url, call) => {
      const chunks: Buffer[] = []
      let reply: Omit<Reply, 'text'> | undefined
      await undici.stream(url, { method: 'GET', ...call, dispatcher }, ({ statusCode, headers }) => {
        reply = { status: statusCode, headers }
        return new Writable({
          write(chunk: Buffer, _, done) {
            chunks.push(chunk)
            done()
          },
        })
      })
      return { status: 0, headers: {}, ...reply, text: Buffer.concat(chunks).toString() }
    },
    pipeline: async (dispatcher, url, call) => {
      const { body, ...options } = call ?? {}
      let reply: Omit<Reply, 'text'> | undefined
      const duplex = undici.pipeline(
        url,
        { method: 'GET', ...options, dispatcher },
        ({ statusCode, headers, body: answer }) => {
          reply = { status: statusCode, headers }
          return answer
        },
      )
      duplex.end(body)
      const text = (await buffer(duplex)).toString()
      return { status: 0, headers: {}, ...reply, text }
    },
    fetch: async (dispatcher, url, call) => {
      const answer = await undici.fetch(url, { ...call, dispatcher })
      return { status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text() }
    },
  }
}
