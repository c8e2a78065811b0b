// npx vitest run
import { beforeEach, expect, it } from 'vitest'
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

it('lives through expiry, revocation and a wider scope', async () => {
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read' })
  acme.clock.advance(301_000)
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read' })
  acme.revokeTokens()
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read' })
  acme.requireScope('notes:write')
  expect(await read()).toEqual({ kind: 'notes', text: 'alice mcp:read notes:write' })
  expect(acme.counts.exchanges).toBe(4)
})

it('says what can be done about an outage, a denial and a sign-out', async () => {
  acme.fail('idp', 'unreachable')
  expect(await read()).toEqual({ kind: 'try_later', seconds: 1 })
  acme.reset()
  acme.clock.advance(1_000)
  acme.deny('alice')
  expect(await read()).toMatchObject({ kind: 'ask_administrator' })
  acme.reset()
  acme.clock.advance(30_000)
  acme.endSession('alice')
  expect(await read()).toEqual({ kind: 'sign_in' })
})
