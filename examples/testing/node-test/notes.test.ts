// node --import tsx --test node-test/notes.test.ts        (from Node 22.18 on without tsx)
import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { withCrossAppAccess } from 'xaa-fetch'
import { createTestEnterprise } from 'xaa-fetch/testing'
import { readNotes } from '../notes-client.ts'

let acme: ReturnType<typeof createTestEnterprise>
let read: () => ReturnType<typeof readNotes>

beforeEach(() => {
  acme = createTestEnterprise()
  acme.respond((_request, { user, scope }) => new Response(`${user} ${scope.join(' ')}`))
  const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
  read = () => readNotes(acme.url, xaaFetch)
})

test('lives through expiry, revocation and a wider scope', async () => {
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read' })
  acme.clock.advance(301_000)
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read' })
  acme.revokeTokens()
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read' })
  acme.requireScope('notes:write')
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read notes:write' })
  assert.equal(acme.counts.exchanges, 4)
})

test('says what can be done about an outage, a denial and a sign-out', async () => {
  acme.fail('idp', 'unreachable')
  assert.deepEqual(await read(), { kind: 'try_later', seconds: 1 })
  acme.reset()
  acme.clock.advance(1_000)
  acme.deny('alice')
  assert.equal((await read()).kind, 'ask_administrator')
  acme.reset()
  acme.clock.advance(30_000)
  acme.endSession('alice')
  assert.deepEqual(await read(), { kind: 'sign_in' })
})
