import { withCrossAppAccess } from '../../lib/cross-app-access.ts'
import { diagnose } from '../../lib/doctor/index.ts'
import type { Report } from '../../lib/doctor/index.ts'
import { isCrossAppAccessError } from '../../lib/errors.ts'
import type { CrossAppAccessOptions } from '../../lib/options/options.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { setUps } from './support/set-ups.ts'
import type { SetUp } from './support/set-ups.ts'

let shared: Enterprise

beforeAll(async () => {
  shared = await startEnterprise()
})

afterAll(() => shared.close())
afterEach(() => shared.reset())

/** Options that fail fast: what is retried is not the point here. */
const impatient = { backOff: { minMs: 4, maxMs: 8 } }

async function arrange(enterprise: Enterprise, setUp: SetUp) {
  const { url = enterprise.mcp.url, ...overrides } = (await setUp.arrange(enterprise)) ?? {}
  return { url, options: () => enterprise.options({ ...impatient, ...overrides }) }
}

async function hintOf(options: CrossAppAccessOptions, url: string): Promise<string | undefined> {
  try {
    await withCrossAppAccess(options)(fetch)(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
      redirect: 'manual',
    })
    return undefined
  } catch (error) {
    return isCrossAppAccessError(error) ? error.hint : undefined
  }
}

/** Times differ from one run to the next. */
const timeless = (text: string | undefined) => text?.replace(/\d+ seconds|\b\d{9,}\b/g, '…')

describe('The catalogue of broken set-ups', () => {
  test.each(setUps)('finds $wrong: $finding', async (setUp) => {
    const own = setUp.servers && (await startEnterprise(setUp.servers))
    try {
      const { url, options } = await arrange(own ?? shared, setUp)
      const hint = await hintOf(options(), url)
      const report = await diagnose(options(), url)
      check(report, setUp, hint)
    } finally {
      await own?.close()
    }
  })

  test('has more than twenty-five of them, each with another fault', () => {
    expect(setUps.length).toBeGreaterThanOrEqual(25)
    expect(new Set(setUps.map(({ wrong }) => wrong)).size).toBe(setUps.length)
    expect(new Set(setUps.map(({ finding }) => finding)).size).toBeGreaterThanOrEqual(25)
  })

  test('finds nothing wrong where nothing is', async () => {
    const report = await diagnose(shared.options(), shared.mcp.url)
    expect(report).toMatchObject({ outcome: 'healthy', findings: [] })
    expect(report).not.toHaveProperty('error')
  })
})

function check(report: Report, setUp: SetUp, hint: string | undefined): void {
  const { library = 'throws', outcome = 'misconfigured' } = setUp
  const [first] = report.findings
  expect(first).toMatchObject({
    id: setUp.finding,
    severity: 'error',
    advice: expect.stringMatching(setUp.advice),
  })
  expect(report.outcome).toBe(outcome)
  // Every finding is explained, and says where it was seen.
  for (const { id, title } of report.findings)
    expect({ id, title }).toEqual({ id, title: expect.stringMatching(/^[A-Z][^_{]+$/) })
  // The library hands the answer of the MCP server back, whatever it is, and has no error to explain.
  if (library === 'hands_back') {
    expect(hint).toBeUndefined()
    return
  }
  expect(hint).toBeDefined()
  expect(timeless(report.error?.hint)).toBe(timeless(hint))
  const advice = timeless(first?.advice)
  if (library === 'throws') expect(advice).toBe(timeless(hint))
  else expect(report.findings.map((finding) => timeless(finding.advice))).toContain(timeless(hint))
}
