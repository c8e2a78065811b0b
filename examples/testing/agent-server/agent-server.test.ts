// Tests a server that runs in a process of its own, ../../agent-server.ts, against the enterprise on loopback:
//
//   node --import tsx --test agent-server/agent-server.test.ts
//
// The clock of that process goes on by itself. When the enterprise's is advanced, tokens end at the MCP server, and the
// agent learns of it from a 401.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, beforeEach, test } from 'node:test'
import type { ChildProcessByStdio } from 'node:child_process'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { createTestEnterprise } from 'xaa-fetch/testing'
import type { ListeningEnterprise } from 'xaa-fetch/testing'

const acme = createTestEnterprise({ users: ['alice', 'bob', 'carol', 'dave'] })
let listening: ListeningEnterprise
let agent: ChildProcessByStdio<null, Readable, null>
let address: string

before(async () => {
  listening = await acme.listen()
  const { idp, authorizationServers } = listening.options('alice')
  const program = fileURLToPath(new URL('../../agent-server.ts', import.meta.url))
  agent = spawn(process.execPath, ['--import', 'tsx', program], {
    env: {
      ...process.env,
      PORT: '0',
      MCP_URL: listening.url,
      IDP_ISSUER: idp.issuer,
      IDP_CLIENT_ID: idp.clientId,
      IDP_SECRET: String(idp.clientSecret),
      AS_ISSUER: authorizationServers[0]?.issuer,
      AS_CLIENT_ID: authorizationServers[0]?.clientId,
      AS_SECRET: String(authorizationServers[0]?.clientSecret),
    },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [line] = (await once(agent.stdout, 'data')) as [Buffer]
  address = `${line.toString().trim()}/ask`
})
after(async () => {
  agent.kill()
  await listening.close()
})
beforeEach(() => acme.reset())

/** Asks the agent as the user whom an ID token names, and gives its answer. */
async function ask(idToken: string): Promise<[status: number, body: any]> {
  const headers = { authorization: `Bearer ${idToken}` }
  const answer = await fetch(address, { method: 'POST', headers, body: '{"question":"hello"}' })
  return [answer.status, await answer.json()]
}

test('users do not see the end of a token', async () => {
  const alice = await listening.idToken('alice')
  assert.deepEqual(await ask(alice), [200, { user: 'alice', answer: 'hello' }])
  acme.clock.advance(301_000)
  assert.deepEqual(await ask(alice), [200, { user: 'alice', answer: 'hello' }])
  assert.equal(acme.counts.exchanges, 2)
})

test('the denial of one user is not another one’s', async () => {
  const [alice, bob] = await Promise.all([listening.idToken('alice'), listening.idToken('bob')])
  acme.revokeTokens()
  acme.deny('bob')
  const [[denied], [served]] = await Promise.all([ask(bob), ask(alice)])
  assert.deepEqual([denied, served], [403, 200])
})

test('a user is shown what to do first', async () => {
  const carol = await listening.idToken('carol')
  const interactionUri = 'https://login.acme.example/terms'
  acme.deny('carol', 'interaction_required', { interaction_uri: interactionUri })
  const [status, body] = await ask(carol)
  assert.deepEqual([status, body.error, body.interactionUri], [403, 'interaction_required', interactionUri])
})

test('a refusal of the MCP server itself is told as one', async () => {
  for (const status of [403, 401]) {
    acme.respond(() => new Response(null, { status }))
    assert.deepEqual(await ask(await listening.idToken('dave')), [403, { error: 'refused_by_mcp_server' }])
  }
})

test('a stronger authentication is asked of the user, who then is served', async () => {
  acme.revokeTokens()
  const alice = await listening.idToken('alice')
  assert.equal((await ask(alice))[0], 200)
  acme.requireAuthentication({ acrValues: 'mfa' })
  const [status, { error, acrValues }] = await ask(alice)
  assert.deepEqual([status, error, acrValues], [401, 'step_up_required', 'mfa'])
  const [again] = await ask(await listening.idToken('alice', { acr: 'mfa' }))
  assert.equal(again, 200)
})
