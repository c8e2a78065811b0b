import { inspect } from 'node:util'
import {
  CrossAppAccessError,
  asRemembered,
  findingOf,
  isCrossAppAccessError,
  withRetryAfter,
} from '../lib/errors.ts'
import type { CrossAppAccessErrorInit } from '../lib/errors.ts'
import type * as ErrorsModule from '../lib/errors.ts'
import { failure } from '../lib/protocol/failure.ts'
import { Secrets } from '../lib/protocol/redaction.ts'

type Errors = typeof ErrorsModule

const init: CrossAppAccessErrorInit = {
  code: 'policy_denied',
  step: 'token_exchange',
  detail: 'the identity provider does not allow this',
  finding: { id: 'policy_denied', advice: 'Ask the administrator.', place: 'identity_provider' },
  endpoint: 'https://idp.example/token',
  status: 400,
  oauthError: { error: 'access_denied', error_description: 'not "you"' },
}
const error = new CrossAppAccessError(init)

/** The module read a second time, as another copy of the package would be. */
function anotherCopy(): Errors {
  const copies: Errors[] = []
  jest.isolateModules(() => copies.push(jest.requireActual<Errors>('../lib/errors.ts')))
  return copies[0]
}

describe('CrossAppAccessError', () => {
  it('says in its message where, what, with which answer, and what to change', () => {
    expect(error.message).toBe(
      'policy_denied in step token_exchange at https://idp.example/token: the identity provider does not allow this (HTTP 400, access_denied). "not \\"you\\"", says the server. Ask the administrator.',
    )
    expect(
      new CrossAppAccessError({ ...init, endpoint: undefined, status: undefined, oauthError: undefined })
        .message,
    ).toBe(
      'policy_denied in step token_exchange: the identity provider does not allow this. Ask the administrator.',
    )
  })

  it('has the members of the contract, and those that are unknown are absent', () => {
    expect(error).toMatchObject({
      ...{
        name: 'CrossAppAccessError',
        code: 'policy_denied',
        step: 'token_exchange',
        status: 400,
        cached: false,
      },
      ...{
        endpoint: 'https://idp.example/token',
        hint: '"not \\"you\\"", says the server. Ask the administrator.',
      },
      oauthError: { error: 'access_denied', error_description: 'not "you"' },
    })
    expect(Object.keys(error).sort()).toEqual([
      'cached',
      'code',
      'endpoint',
      'hint',
      'oauthError',
      'status',
      'step',
    ])
    const most = { retryAfter: 0, acrValues: 'a', maxAge: 0, cached: true, cause: new Error('x') }
    expect(new CrossAppAccessError({ ...init, ...most })).toMatchObject(most)
  })

  it('is an error, and reads like one', () => {
    expect(error).toBeInstanceOf(Error)
    expect(error).toBeInstanceOf(CrossAppAccessError)
    expect(String(error)).toBe(`CrossAppAccessError: ${error.message}`)
    expect(error.stack).toMatch(/^CrossAppAccessError: policy_denied in step/)
    expect(inspect(error)).toMatch(/^CrossAppAccessError: policy_denied/)
    expect(Object.prototype.propertyIsEnumerable.call(error, 'name')).toBe(false)
    expect('cause' in error).toBe(false)
  })

  it('can be written as JSON, and has nothing of its cause there', () => {
    const caused = new CrossAppAccessError({ ...init, cause: new Error('hidden') })
    expect(JSON.parse(JSON.stringify(caused))).toEqual({
      ...{
        code: 'policy_denied',
        step: 'token_exchange',
        status: 400,
        cached: false,
        hint: '"not \\"you\\"", says the server. Ask the administrator.',
      },
      ...{ endpoint: 'https://idp.example/token', oauthError: init.oauthError },
    })
  })

  it('is known by its mark across two copies of the package, and nothing else is', () => {
    const copy = anotherCopy()
    expect(copy.CrossAppAccessError).not.toBe(CrossAppAccessError)
    const foreign = new copy.CrossAppAccessError(init)
    expect(foreign).not.toBeInstanceOf(CrossAppAccessError)
    expect(isCrossAppAccessError(foreign)).toBe(true)
    expect(copy.isCrossAppAccessError(error)).toBe(true)
    for (const other of [
      new Error('x'),
      { name: 'CrossAppAccessError' },
      null,
      undefined,
      'x',
      5,
      () => error,
    ]) {
      expect(isCrossAppAccessError(other)).toBe(false)
    }
  })

  it('is an authentication outcome to the MCP SDK 2.x, on its prototype (H4)', () => {
    const mark = Symbol.for('mcp.authSeamEscape')
    expect((error as any)[mark]).toBe(true)
    expect(Object.getOwnPropertySymbols(error)).toEqual([])
    expect((new Error('x') as any)[mark]).toBeUndefined()
  })

  it('remembered says so, keeps everything else, and has the stack of who is told', () => {
    const tellMe = () => asRemembered(error, 7)
    const remembered = tellMe()
    expect(remembered).not.toBe(error)
    expect(remembered).toMatchObject({
      code: 'policy_denied',
      cached: true,
      retryAfter: 7,
      hint: error.hint,
      status: 400,
    })
    expect(remembered.message).toMatch(/at https:\/\/idp\.example\/token, remembered: /)
    expect(remembered.stack).toMatch(/tellMe/)
    expect(asRemembered(new CrossAppAccessError({ ...init, retryAfter: 3 })).retryAfter).toBe(3)
    expect(findingOf(remembered)).toEqual(init.finding)
  })

  it('can be told when to try again', () => {
    expect(withRetryAfter(error, 5)).toMatchObject({ code: 'policy_denied', retryAfter: 5, cached: false })
    expect(error.retryAfter).toBeUndefined()
  })

  it('gives its finding to the doctor, and to nobody who looks', () => {
    expect(findingOf(error)).toEqual(init.finding)
    expect(inspect(error, { showHidden: true, depth: Infinity })).not.toContain('identity_provider')
  })
})

describe('a failure of a step (G5)', () => {
  const secret = 'cnry-abcdef'
  const context = { fetch, secrets: new Secrets().add(secret) }

  it('is scrubbed in all its texts', () => {
    const made = failure(context, {
      ...init,
      detail: `detail ${secret}`,
      finding: { ...init.finding, advice: `Look at ${JSON.stringify(`${secret}!`)}.` },
      endpoint: `https://idp.example/${secret}/token?${secret}`,
      acrValues: `acr ${secret}`,
      cause: new Error(`cause ${secret}`),
      oauthError: undefined,
    })
    expect(inspect(made, { showHidden: true, depth: Infinity })).not.toContain(secret)
    expect(made).toMatchObject({
      ...{
        hint: 'Look at "[redacted]!".',
        endpoint: 'https://idp.example/[redacted]/token',
        acrValues: 'acr [redacted]',
      },
      cause: { message: 'cause [redacted]' },
    })
  })

  it('keeps no reference to the original cause', () => {
    const cause = new TypeError('x')
    expect(failure(context, { ...init, cause }).cause).not.toBe(cause)
    expect('cause' in failure(context, init)).toBe(false)
  })
})
