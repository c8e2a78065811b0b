import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { outcomeOf } from './support/child.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'

const root = join(__dirname, '..')

/** Runs an example as its first lines say. */
function start(example: string, env: Record<string, string>): ChildProcess {
  const { PATH = '', HOME = '' } = process.env
  return spawn(process.execPath, ['--import', 'tsx', join('examples', example)], {
    cwd: root,
    env: { PATH, HOME, NODE_NO_WARNINGS: '1', TSX_TSCONFIG_PATH: 'examples/tsconfig.json', ...env },
    stdio: 'pipe',
  })
}

function environmentOf({ idp, authorizationServer, mcp }: Enterprise): Record<string, string> {
  return {
    IDP_ISSUER: idp.issuer,
    IDP_CLIENT_ID: idp.client.id,
    IDP_SECRET: idp.client.secret ?? '',
    AS_ISSUER: authorizationServer.issuer,
    AS_CLIENT_ID: authorizationServer.client.id,
    AS_SECRET: authorizationServer.client.secret ?? '',
    MCP_URL: mcp.url,
  }
}

let enterprise: Enterprise
beforeAll(async () => {
  enterprise = await startEnterprise()
})
afterAll(() => enterprise.close())
afterEach(() => enterprise.reset())

describe('examples/quickstart.ts', () => {
  it('lists the tools of a protected MCP server', async () => {
    const { idToken } = await enterprise.signIn()
    const child = start('quickstart.ts', { ...environmentOf(enterprise), ID_TOKEN: idToken })
    expect(await outcomeOf(child)).toEqual({ code: 0, stdout: 'echo\nwhoami\nwrite\napprove\n', stderr: '' })
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('says what to change where it is refused', async () => {
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    const { idToken } = await enterprise.signIn()
    const child = start('quickstart.ts', { ...environmentOf(enterprise), ID_TOKEN: idToken })
    const { code, stderr } = await outcomeOf(child)
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^policy_denied: .*administrator.*\n$/)])
  })

  it('says what it needs to know', async () => {
    const { code, stderr } = await outcomeOf(start('quickstart.ts', {}))
    expect([code, stderr]).toEqual([64, expect.stringContaining('IDP_ISSUER')])
  })
})

describe('examples/agent-server.ts', () => {
  const users = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi']
  const idTokens = new Map<string, string>()
  let agent: ChildProcess
  let ended: ReturnType<typeof outcomeOf>
  let url: string

  beforeAll(async () => {
    agent = start('agent-server.ts', { ...environmentOf(enterprise), PORT: '0' })
    ended = outcomeOf(agent)
    const [line] = await Promise.race([
      once(agent.stdout as NodeJS.ReadableStream, 'data'),
      ended.then(({ stderr }) => Promise.reject(new Error(stderr))),
    ])
    url = `${String(line).trim()}/ask`
    for (const user of users) idTokens.set(user, (await enterprise.signIn({ user })).idToken)
    enterprise.reset()
  })
  afterAll(() => void agent.kill('SIGKILL'))

  const ask = async (user: string, question: string, idToken = idTokens.get(user)) => {
    const headers = { authorization: `Bearer ${idToken}` }
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ question }) })
    return { status: response.status, body: await response.json() }
  }

  /** Every user asks at the same time, several times. Each question says who asks. */
  const everybodyAsks = async (times: number): Promise<void> => {
    const questions = Array.from({ length: times }, (_, i) =>
      users.map((user) => [user, `${user} asks ${i}`]),
    ).flat()
    const answers = await Promise.all(questions.map(([user, question]) => ask(user, question)))
    expect(answers).toEqual(
      questions.map(([user, question]) => ({ status: 200, body: { user, answer: question } })),
    )
  }

  /** Who asked, by the question, and whose token was shown to the MCP server with it. */
  const askersAndOwners = () =>
    enterprise.mcp.requests.flatMap(({ body, headers }) => {
      const asker = /"(\w+) asks \d+"/.exec(body)?.[1]
      const token = headers['authorization']?.replace('Bearer ', '')
      const owner = enterprise.authorizationServer.issued.find(({ value }) => value === token)?.user
      return asker === undefined ? [] : [{ asker, owner }]
    })

  it('serves many users at once, each with a token of their own and one exchange for it (E1, E3)', async () => {
    await everybodyAsks(5)
    const pairs = askersAndOwners()
    expect(pairs).toHaveLength(users.length * 5)
    expect(pairs.filter(({ asker, owner }) => asker !== owner)).toEqual([])
    expect([enterprise.exchanges, enterprise.grants]).toEqual([users.length, users.length])
    const exchanged = enterprise.idp.requests.flatMap(({ form }) => form?.['subject_token'] ?? [])
    expect(exchanged.sort()).toEqual([...idTokens.values()].sort())
  })

  it('crosses no users either while all of their tokens are renewed (E2)', async () => {
    enterprise.authorizationServer.revokeAll()
    await everybodyAsks(3)
    const pairs = askersAndOwners()
    expect(pairs).toHaveLength(users.length * 3)
    expect(pairs.filter(({ asker, owner }) => asker !== owner)).toEqual([])
    expect([enterprise.exchanges, enterprise.grants]).toEqual([users.length, users.length])
  })

  it('keeps the refusal of one user from the others (G3)', async () => {
    const denied = idTokens.get('bob')
    enterprise.idp.behaviour.refuse = ({ subject_token: token }) =>
      token === denied ? { error: 'access_denied' } : undefined
    enterprise.authorizationServer.revokeAll()
    const [alice, bob] = await Promise.all([ask('alice', 'here?'), ask('bob', 'here?')])
    expect(alice).toEqual({ status: 200, body: { user: 'alice', answer: 'here?' } })
    expect(bob).toMatchObject({ status: 403, body: { error: 'policy_denied' } })
  })

  it('takes nobody at their word', async () => {
    const { idToken } = await enterprise.signIn()
    for (const token of [
      '',
      'alice',
      `${idToken.slice(0, -4)}AAAA`,
      enterprise.authorizationServer.issued[0].value,
    ]) {
      expect(await ask('alice', 'hello', token)).toEqual({ status: 401, body: { error: 'invalid_token' } })
    }
    expect(enterprise.mcp.requests).toEqual([])
  })

  it('ends when it is told to, and has said nothing that is secret', async () => {
    agent.kill('SIGTERM')
    const { code, stdout, stderr } = await ended
    expect(code).toBe(0)
    expect(stderr).toContain('bob: policy_denied')
    expect(stdout + stderr).not.toMatch(/eyJ/)
  })
})
