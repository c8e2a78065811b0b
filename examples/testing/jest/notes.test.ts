// npx jest
import { expect, it } from '@jest/globals'
import { withCrossAppAccess } from 'xaa-fetch'
import { createTestEnterprise } from 'xaa-fetch/testing'
import { readNotes } from '../notes-client.ts'

function start() {
  const acme = createTestEnterprise()
  acme.respond((_request, { user, scope }) => new Response(`${user} ${scope.join(' ')}`))
  const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
  return { acme, read: () => readNotes(acme.url, xaaFetch) }
}

it('lives through expiry, revocation and a wider scope, and asks for a stronger sign-in', async () => {
  const { acme, read } = start()
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read' })
  acme.clock.advance(301_000)
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read' })
  acme.revokeTokens()
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read' })
  acme.requireScope('notes:write')
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read notes:write' })
  expect(acme.counts.exchanges).toBe(4)
  acme.requireAuthentication({ acrValues: 'mfa' })
  expect(await read()).toEqual({ kind: 'sign_in', acrValues: 'mfa' })
})

it('says what can be done about a denial, a sign-out and an outage', async () => {
  const { acme, read } = start()
  acme.deny('alice')
  expect(await read()).toMatchObject({ kind: 'ask_administrator' })
  acme.clock.advance(30_000)
  acme.endSession('alice')
  expect(await read()).toEqual({ kind: 'sign_in' })
  acme.clock.advance(30_000)
  acme.fail('idp', 'unreachable')
  expect(await read()).toEqual({ kind: 'try_later', seconds: 1 })
})
