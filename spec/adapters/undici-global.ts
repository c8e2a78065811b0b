// A program that makes the interceptor global, so that Node's own fetch goes through it. Run by a spec.
import { createRequire } from 'node:module'
import * as undici7 from 'undici'
import { crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'

const { idToken, ...options } = JSON.parse(
  process.env['PROGRAM_OPTIONS'] ?? '{}',
) as CrossAppAccessOptions & {
  idToken: string
}
// Alike enough for what is done with it.
const require = createRequire(new URL('../undici8/package.json', import.meta.url))
const undici = process.env['PROGRAM_UNDICI'] === '8' ? (require('undici8') as typeof undici7) : undici7
const interceptor = crossAppAccessInterceptor({ ...options, getIdToken: () => idToken })
undici.setGlobalDispatcher(undici.getGlobalDispatcher().compose(interceptor))

const [url] = options.resources as [string]
const init = { method: 'POST', body: '{"ö":1}', headers: { 'content-type': 'application/json' } }
const answers = []
for (let turn = 0; turn < 2; turn++) {
  const answer = await fetch(`${url}/raw/echo`, init)
  const { body, headers } = (await answer.json()) as { body: string; headers: Record<string, string> }
  answers.push([answer.status, body, headers['authorization'] !== undefined])
}
const stream = new Blob(['streamed']).stream()
const streamed = await fetch(`${url}/raw/echo`, {
  method: 'POST',
  body: stream,
  duplex: 'half',
} as RequestInit)
answers.push([streamed.status, ((await streamed.json()) as { body: string }).body])
const controller = new AbortController()
const aborted = fetch(`${url}/raw/sse?events=1000`, { signal: controller.signal })
await (await aborted).body?.getReader().read()
controller.abort('enough')
const form = new FormData()
form.set('a', 'b')
answers.push((await fetch(`${url}/raw/echo`, { method: 'PUT', body: form })).status)
console.log(JSON.stringify(answers))
