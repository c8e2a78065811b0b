import { decodeProtectedHeader } from 'jose'
import { createCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessEvent, CrossAppAccessOptions } from '../lib/index.ts'
import { tokensSentTo, toolCall } from './integration/harness.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'

let enterprise: Enterprise
const idTokens = new Map<string, string>()
const users = Array.from({ length: 8 }, (_, i) => `user${i}`)

beforeAll(async () => {
  enterprise = await startEnterprise()
  for (const user of [...users, 'alice', 'bob'])
    idTokens.set(user, (await enterprise.signIn({ user })).idToken)
})
afterAll(() => enterprise.close())
afterEach(() => enterprise.reset())

const idTokenOf = (user: string) => () => idTokens.get(user)!

/** Without users of its own: every request goes through forSubject. */
function platform(overrides: Partial<CrossAppAccessOptions> = {}): CrossAppAccess {
  const { getIdToken: _, ...options } = enterprise.options(overrides)
  return createCrossAppAccess({ ...options, ...overrides })
}

async function whoami(xaa: CrossAppAccess): Promise<string> {
  const answer = await xaa.middleware(fetch)(enterprise.mcp.url, toolCall('whoami'))
  const data = /^data: (.*)$/m.exec(await answer.text())?.[1] ?? '{}'
  return JSON.parse(data).result?.content[0].text
}

/** Users as the identity provider has been told of them, by the order of the exchanges. */
function exchanged(): string[] {
  const names = new Map([...idTokens].map(([user, idToken]) => [idToken, user]))
  return enterprise.idp.requests.flatMap(({ form }) => names.get(form?.['subject_token'] ?? '') ?? [])
}

describe('many users in one process (forSubject)', () => {
  it('gives every user a token of their own (E1)', async () => {
    const xaa = platform()
    const access = users.map((user) => xaa.forSubject(user, idTokenOf(user)))
    expect(await Promise.all(access.map(whoami))).toEqual(users)
    expect(new Set(tokensSentTo(enterprise.mcp)).size).toBe(users.length + 1)
    expect(exchanged().sort()).toEqual(users)
  })

  it('fetches the metadata once for all of them', async () => {
    const xaa = platform()
    await Promise.all(users.map((user) => whoami(xaa.forSubject(user, idTokenOf(user)))))
    await whoami(xaa.forSubject('bob', idTokenOf('bob')))
    const documents = [enterprise.idp, enterprise.authorizationServer, enterprise.mcp].map(
      ({ requests }) => requests.filter(({ path }) => path.startsWith('/.well-known/')).length,
    )
    expect(documents).toEqual([1, 1, 1])
  })

  it('asks nobody bare for the second user, since the first has taught it where tokens come from (E6)', async () => {
    const xaa = platform()
    await whoami(xaa.forSubject('alice', idTokenOf('alice')))
    enterprise.mcp.requests.length = 0
    expect(await whoami(xaa.forSubject('bob', idTokenOf('bob')))).toBe('bob')
    expect(enterprise.mcp.requests.map(({ status }) => status)).toEqual([200])
  })

  it('shares the tokens of the same string, and the flight under way', async () => {
    const xaa = platform()
    const twice = [
      xaa.forSubject('alice', idTokenOf('alice')),
      xaa.forSubject('alice', idTokenOf('alice')),
      xaa.forSubject('bob', idTokenOf('bob')).forSubject('alice', idTokenOf('alice')),
    ]
    expect(await Promise.all(twice.map(whoami))).toEqual(['alice', 'alice', 'alice'])
    expect(enterprise.exchanges).toBe(1)
  })

  it('binds the tokens of the same string to the same key, however often it is named (E1)', async () => {
    const xaa = platform({ dpop: true })
    for (const user of ['alice', 'bob', 'alice']) {
      const access = xaa.forSubject(user, idTokenOf(user))
      expect(await whoami(access)).toBe(user)
      access.invalidate()
    }
    const keys = enterprise.authorizationServer.requests.flatMap(({ headers: { dpop } }) =>
      dpop === undefined ? [] : decodeProtectedHeader(dpop).jwk?.x,
    )
    expect([keys.length, new Set(keys).size, keys[0] === keys[2]]).toEqual([3, 2, true])
  })

  it.each(['undefined', 'null', '[null]', 'base', ' '])(
    'keeps the base instance apart from the string %j',
    async (string) => {
      const xaa = platform({ getIdToken: idTokenOf('alice') })
      const other = xaa.forSubject(string, idTokenOf('bob'))
      expect(await Promise.all([whoami(xaa), whoami(other), whoami(xaa), whoami(other)])).toEqual([
        ...['alice', 'bob', 'alice', 'bob'],
      ])
      expect(enterprise.exchanges).toBe(2)
    },
  )

  it('says what is missing where there is no getIdToken and no subject', async () => {
    const error: unknown = await whoami(platform()).catch((reason: unknown) => reason)
    expect(error).toMatchObject({
      code: 'id_token_unavailable',
      hint: expect.stringContaining('forSubject'),
    })
    expect(String(error)).toContain('no getIdToken was given')
    expect(String(error)).not.toContain('failed')
  })

  it('refuses what is no string, an empty one, and what is no function (H6)', () => {
    const xaa = platform()
    expect(() => xaa.forSubject('', idTokenOf('alice'))).toThrow(TypeError)
    expect(() => xaa.forSubject(7 as never, idTokenOf('alice'))).toThrow(TypeError)
    expect(() => xaa.forSubject('alice', 'token' as never)).toThrow(TypeError)
  })

  it('forgets the tokens of one user alone', async () => {
    const xaa = platform()
    const [alice, bob] = ['alice', 'bob'].map((user) => xaa.forSubject(user, idTokenOf(user)))
    await Promise.all([alice, bob].map(whoami))
    alice.invalidate()
    await Promise.all([alice, bob].map(whoami))
    expect(exchanged().sort()).toEqual(['alice', 'alice', 'bob'])
  })

  it('remembers a refusal for the user that it concerns (G1)', async () => {
    const xaa = platform()
    enterprise.idp.behaviour.refuse = ({ subject_token }) =>
      subject_token === idTokens.get('bob') ? { error: 'access_denied' } : undefined
    const [alice, bob] = ['alice', 'bob'].map((user) => xaa.forSubject(user, idTokenOf(user)))
    await expect(whoami(bob)).rejects.toMatchObject({ code: 'policy_denied', cached: false })
    await expect(whoami(bob)).rejects.toMatchObject({ code: 'policy_denied', cached: true })
    expect(await whoami(alice)).toBe('alice')
  })

  it('keeps what a step-up has won for the user that it concerns (D3)', async () => {
    const xaa = platform()
    const [alice, bob] = ['alice', 'bob'].map((user) => xaa.forSubject(user, idTokenOf(user)))
    await Promise.all([alice, bob].map(whoami))
    const write = toolCall('write', { text: 'x' })
    expect((await alice.middleware(fetch)(enterprise.mcp.url, write)).status).toBe(200)
    bob.invalidate()
    await whoami(bob)
    const { issued } = enterprise.authorizationServer
    const scopes = Object.fromEntries(issued.slice(-3).map(({ user, scope }) => [user, scope]))
    expect(scopes).toEqual({ alice: expect.stringContaining('chat.write'), bob: 'chat.read' })
  })

  it('names the user in events, and nothing in those of the base instance', async () => {
    const events: CrossAppAccessEvent[] = []
    const onEvent = (event: CrossAppAccessEvent) => void events.push(event)
    const xaa = platform({ onEvent, getIdToken: idTokenOf('alice') })
    await whoami(xaa)
    expect(events.some((event) => 'subject' in event)).toBe(false)
    events.length = 0
    await whoami(xaa.forSubject('bob', idTokenOf('bob')))
    expect(new Set(events.map(({ subject }) => subject))).toEqual(new Set(['bob']))
  })

  it.each(['a refusal that is remembered', 'a token that another call has renewed'])(
    'lets no challenge that pointed one user to another origin lead the next one there, after %s (E0, F3)',
    async (situation) => {
      const xaa = platform()
      const { behaviour } = enterprise.mcp
      const mallory = xaa.forSubject('alice', idTokenOf('alice'))
      const elsewhere = 'Bearer resource_metadata="https://evil.example/metadata"'
      if (situation === 'a refusal that is remembered') {
        behaviour.challenge = () => elsewhere
        for (const cached of [false, true])
          await expect(whoami(mallory)).rejects.toMatchObject({ code: 'metadata_mismatch', cached })
      } else {
        await whoami(mallory)
        // Two calls with one token: by the time the second is refused, the first has brought another.
        enterprise.authorizationServer.revokeAll()
        const late = mallory.middleware(async (url: string, init?: RequestInit) => {
          const response = await fetch(url, init)
          if (response.status !== 401) return response
          await whoami(mallory)
          return new Response(null, { status: 401, headers: { 'www-authenticate': elsewhere } })
        })
        expect((await late(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
      }
      behaviour.challenge = 'standard'
      expect(await whoami(xaa.forSubject('bob', idTokenOf('bob')))).toBe('bob')
    },
  )

  it('keeps no more tokens than it may, those used last (E1)', async () => {
    const xaa = platform({ cache: { maxEntries: 4 } })
    const access = users.map((user) => xaa.forSubject(user, idTokenOf(user)))
    for (const each of access) await whoami(each)
    enterprise.idp.requests.length = 0
    for (const each of access.slice(4)) await whoami(each)
    expect(exchanged()).toEqual([])
    await whoami(access[0])
    expect(exchanged()).toEqual(['user0'])
    await whoami(access[4])
    expect(exchanged()).toEqual(['user0', 'user4'])
  })

  it('never sends one user’s token for another, whatever happens at the same time', async () => {
    const xaa = platform({ cache: { maxEntries: 3 } })
    const { authorizationServer, mcp } = enterprise
    authorizationServer.behaviour.revokePrevious = true
    const mixed = Array.from({ length: 40 }, (_, i) => users[i % users.length])
    const call = async (user: string, i: number) => {
      const access = xaa.forSubject(user, idTokenOf(user))
      if (i % 10 === 0) authorizationServer.revokeAll(user)
      if (i % 15 === 0) access.invalidate()
      // A turn of its own for each, so that they come in between each other's steps.
      for (let turn = 0; turn < i % 7; turn++) await new Promise(setImmediate)
      const { headers, ...init } = toolCall('whoami')
      const answer = await access.middleware(fetch)(mcp.url, {
        ...init,
        headers: { ...headers, 'x-user': user },
      })
      await answer.text()
    }
    for (let round = 0; round < 3; round++) await Promise.all(mixed.map(call))

    const owners = new Map(authorizationServer.issued.map(({ value, user }) => [value, user]))
    const pairs = mcp.requests.flatMap(({ headers }) => {
      const token = headers['authorization']?.replace('Bearer ', '')
      return token === undefined ? [] : [[headers['x-user'], owners.get(token)]]
    })
    expect(pairs.length).toBeGreaterThanOrEqual(3 * mixed.length)
    expect(pairs.filter(([asked, owner]) => asked !== owner)).toEqual([])
  })

  it('runs one flight for a user, also where what is remembered of that user had to make room (E3)', async () => {
    const xaa = platform({ cache: { maxEntries: 1 } })
    const alice = () => xaa.forSubject('alice', idTokenOf('alice'))
    const early = alice()
    await whoami(early)
    await whoami(xaa.forSubject('bob', idTokenOf('bob')))
    const late = alice()
    expect(await Promise.all([early, late].map(whoami))).toEqual(['alice', 'alice'])
    expect(exchanged()).toEqual(['alice', 'bob', 'alice'])
  })

  it('answers two hundred calls of eight users for eight exchanges (E3)', async () => {
    const xaa = platform()
    const calls = Array.from({ length: 200 }, (_, i) => users[i % users.length])
    const answers = await Promise.all(calls.map((user) => whoami(xaa.forSubject(user, idTokenOf(user)))))
    expect(answers).toEqual(calls)
    expect(enterprise.exchanges).toBe(users.length)
  })
})
