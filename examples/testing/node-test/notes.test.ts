// node --import tsx --test node-test/notes.test.ts        (from Node 22.18 on without tsx)
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withCrossAppAccess } from 'xaa-fetch'
import { createTestEnterprise } from 'xaa-fetch/testing'
import { readNotes } from '../notes-client.ts'

function start() {
  const acme = createTestEnterprise()
  acme.respond((_request, { user, scope }) => new Response(`${user} ${scope.join(' ')}`))
  const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
  return { acme, read: () => readNotes(acme.url, xaaFetch) }
}

test('lives through expiry, revocation and a wider scope, and asks for a stronger sign-in', async () => {
  const { acme, read } = start()
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read' })
  acme.clock.advance(301_000)
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read' })
  acme.revokeTokens()
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read' })
  acme.requireScope('notes:write')
  assert.deepEqual(await read(), { kind: 'notes', text: 'alice mcp:read notes:write' })
  assert.equal(acme.counts.exchanges, 4)
  acme.requireAuthentication({ acrValues: 'mfa' })
  assert.deepEqual(await read(), { kind: 'sign_in', acrValues: 'mfa' })
})

test('says what can be done about a denial, a sign-out and an outage', async () => {
  const { acme, read } = start()
  acme.deny('alice')
  assert.equal((await read()).kind, 'ask_administrator')
  acme.clock.advance(30_000)
  acme.endSession('alice')
  assert.deepEqual(await read(), { kind: 'sign_in' })
  acme.clock.advance(30_000)
  acme.fail('idp', 'unreachable')
  assert.deepEqual(await read(), { kind: 'try_later', seconds: 1 })
})
