import fc from 'fast-check'
import { parseChallenges } from '../../lib/protocol/challenge.ts'
import { readDemand } from '../../lib/protocol/demand.ts'
import { scopeTokens } from '../../lib/protocol/scope.ts'

const metadata = 'https://mcp.example.com/.well-known/oauth-protected-resource'

/** As plain objects: the parser's have no prototype. */
const parse = (header: string | null | undefined) =>
  parseChallenges(header).map(({ scheme, token68, parameters }) => ({
    scheme,
    ...(token68 !== undefined && { token68 }),
    ...parameters,
  }))

describe('a WWW-Authenticate header', () => {
  describe('of the standards (D2)', () => {
    it.each([
      [
        'W-1: a URL and a scope',
        `Bearer resource_metadata="${metadata}", scope="files:read"`,
        [{ scheme: 'bearer', resource_metadata: metadata, scope: 'files:read' }],
      ],
      [
        'W-2: over several lines',
        `Bearer error="insufficient_scope", scope="files:write",\r\n  resource_metadata="${metadata}",\r\n  error_description="File write permission required for this operation"`,
        [
          {
            ...{
              scheme: 'bearer',
              error: 'insufficient_scope',
              scope: 'files:write',
              resource_metadata: metadata,
            },
            error_description: 'File write permission required for this operation',
          },
        ],
      ],
      ['W-3: a realm and nothing else', 'Bearer realm="example"', [{ scheme: 'bearer', realm: 'example' }]],
      [
        'W-4: an expired token',
        'Bearer realm="example", error="invalid_token", error_description="The access token expired"',
        [
          {
            ...{ scheme: 'bearer', realm: 'example', error: 'invalid_token' },
            error_description: 'The access token expired',
          },
        ],
      ],
      [
        'W-5: a wanted authentication class',
        'Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="myACR"',
        [
          {
            ...{ scheme: 'bearer', error: 'insufficient_user_authentication', acr_values: 'myACR' },
            error_description: 'A different authentication level is required',
          },
        ],
      ],
      [
        'W-6: an unquoted number',
        'Bearer error="insufficient_user_authentication", max_age=5',
        [{ scheme: 'bearer', error: 'insufficient_user_authentication', max_age: '5' }],
      ],
      ['W-7: DPoP', 'DPoP algs="ES256 PS256"', [{ scheme: 'dpop', algs: 'ES256 PS256' }]],
      [
        'W-8: a nonce wanted',
        'DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"',
        [
          {
            ...{ scheme: 'dpop', error: 'use_dpop_nonce' },
            error_description: 'Resource server requires nonce in DPoP proof',
          },
        ],
      ],
      [
        'W-9: two schemes in one line',
        'Bearer error="invalid_token", error_description="Invalid token", DPoP algs="ES256 PS256"',
        [
          { scheme: 'bearer', error: 'invalid_token', error_description: 'Invalid token' },
          { scheme: 'dpop', algs: 'ES256 PS256' },
        ],
      ],
      [
        'W-10: two schemes with the same parameters',
        'Bearer error="invalid_request", error_description="one", DPoP algs="ES256 PS256", error="invalid_request", error_description="two"',
        [
          { scheme: 'bearer', error: 'invalid_request', error_description: 'one' },
          { scheme: 'dpop', algs: 'ES256 PS256', error: 'invalid_request', error_description: 'two' },
        ],
      ],
      [
        'W-11: a comma inside a value',
        'Bearer scope="urn:example:channel=HBO&urn:example:rating=G,PG-13"',
        [{ scheme: 'bearer', scope: 'urn:example:channel=HBO&urn:example:rating=G,PG-13' }],
      ],
      [
        'W-12: white space after the equals sign',
        `Bearer resource_metadata=\n   "${metadata}"`,
        [{ scheme: 'bearer', resource_metadata: metadata }],
      ],
      [
        'W-13: another scheme first',
        'Basic realm="x", Bearer scope="a b"',
        [
          { scheme: 'basic', realm: 'x' },
          { scheme: 'bearer', scope: 'a b' },
        ],
      ],
      [
        'W-14: a parameter inside a quoted string',
        'Bearer error_description="use scope=\\"evil\\"", scope="good"',
        [{ scheme: 'bearer', error_description: 'use scope="evil"', scope: 'good' }],
      ],
      [
        'W-15: any case, lines joined',
        'BEARER Error="invalid_token", bearer SCOPE="a", Bearer',
        [
          { scheme: 'bearer', error: 'invalid_token' },
          { scheme: 'bearer', scope: 'a' },
          { scheme: 'bearer' },
        ],
      ],
    ])('is parsed: %s', (_, header, challenges) => {
      expect(parse(header)).toEqual(challenges)
    })
  })

  describe('of servers that have their own ideas', () => {
    it.each([
      [
        'a token68',
        'Negotiate YII+/-._~=, Bearer',
        [{ scheme: 'negotiate', token68: 'YII+/-._~=' }, { scheme: 'bearer' }],
      ],
      ['a token68 with white space before', 'Basic \t YQ==', [{ scheme: 'basic', token68: 'YQ==' }]],
      ['a token68 with white space behind', 'Basic YQ==  ', [{ scheme: 'basic', token68: 'YQ==' }]],
      ['a scheme alone', 'Negotiate', [{ scheme: 'negotiate' }]],
      ['schemes alone', 'Negotiate, NTLM', [{ scheme: 'negotiate' }, { scheme: 'ntlm' }]],
      ['white space round the equals sign', 'Bearer scope \t=\t "x"', [{ scheme: 'bearer', scope: 'x' }]],
      ['no comma between parameters', 'Bearer a="1" b="2"', [{ scheme: 'bearer', a: '1', b: '2' }]],
      ['empty elements', ',, Bearer ,, a="1" ,,', [{ scheme: 'bearer', a: '1' }]],
      [
        'an unquoted URL',
        `Bearer resource_metadata=${metadata}, a=b`,
        [{ scheme: 'bearer', resource_metadata: metadata, a: 'b' }],
      ],
      ['an empty quoted string', 'Bearer scope="", error=""', [{ scheme: 'bearer', scope: '', error: '' }]],
      ['a quoted string without an end', 'Bearer a="b, c=d', [{ scheme: 'bearer', a: 'b, c=d' }]],
      ['an escape at the very end', 'Bearer a="b\\', [{ scheme: 'bearer', a: 'b' }]],
      [
        'an escaped backslash before the end of a string',
        'Bearer a="\\\\", b="c"',
        [{ scheme: 'bearer', a: '\\', b: 'c' }],
      ],
      [
        'unknown parameters',
        'Bearer x-y="1", error="invalid_token"',
        [{ scheme: 'bearer', 'x-y': '1', error: 'invalid_token' }],
      ],
      ['a parameter before any scheme', 'realm="x", Bearer a="1"', [{ scheme: 'bearer', a: '1' }]],
      ['characters that nothing allows', '"", @@@ ;;, Bearer a="1"', [{ scheme: 'bearer', a: '1' }]],
      ['a value that is missing', 'Bearer x="1", a=, b="1"', [{ scheme: 'bearer', x: '1', a: '', b: '1' }]],
      [
        'bytes beyond ASCII',
        'Bearer realm="Zürich", ünknown, error="x"',
        [{ scheme: 'bearer', realm: 'Zürich', error: 'x' }],
      ],
    ])('is parsed: %s', (_, header, challenges) => {
      expect(parse(header)).toEqual(challenges)
    })

    it('counts the first of several equal parameters', () => {
      expect(parse('Bearer scope="good", SCOPE="evil", scope="worse"')).toEqual([
        { scheme: 'bearer', scope: 'good' },
      ])
    })

    it('pollutes no prototype', () => {
      const [challenge] = parseChallenges('Bearer __proto__="x", constructor="y", toString=z')
      expect(Object.entries(challenge.parameters)).toEqual([
        ['__proto__', 'x'],
        ['constructor', 'y'],
        ['tostring', 'z'],
      ])
      expect(Object.getPrototypeOf(challenge.parameters)).toBeNull()
      expect(({} as Record<string, unknown>)['x']).toBeUndefined()
    })

    it('holds no challenge where there is no header', () => {
      expect([parse(null), parse(undefined), parse(''), parse(' ,\t')]).toEqual([[], [], [], []])
    })
  })

  it('never makes the parser throw, whatever it is (D2)', () => {
    const pieces = fc.constantFrom(
      'Bearer',
      'DPoP',
      ' ',
      ',',
      '=',
      '"',
      '\\',
      '\t',
      '\r\n',
      'scope',
      'a',
      '/',
      '~',
      'é',
      '\0',
    )
    const hostile = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(pieces, { maxLength: 60 }).map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(hostile, (header) => {
        for (const { scheme, parameters } of parseChallenges(header)) {
          expect(scheme).toMatch(/^[!#$%&'*+.^_`|~0-9a-z-]+$/)
          for (const value of Object.values(parameters)) expect(typeof value).toBe('string')
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('is read back as it was written, for every challenge there can be', () => {
    const token = fc.string({
      unit: fc.constantFrom(...Array.from("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")),
      minLength: 1,
      maxLength: 8,
    })
    const value = fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
      maxLength: 20,
    })
    const space = fc.constantFrom('', ' ', '\t ')
    const parameter = fc.tuple(token, value, space, space, fc.boolean())
    const challenge = fc.record({
      scheme: token,
      parameters: fc.uniqueArray(parameter, { selector: ([name]) => name, maxLength: 5 }),
    })
    const quoted = (text: string, all: boolean) => `"${text.replace(all ? /([^a])/g : /(["\\])/g, '\\$1')}"`
    fc.assert(
      fc.property(fc.array(challenge, { maxLength: 4 }), (challenges) => {
        const header = challenges
          .map(
            ({ scheme, parameters }) =>
              `${scheme} ${parameters.map(([name, text, before, after, all]) => `${name}${before}=${after}${quoted(text, all)}`).join(', ')}`,
          )
          .join(', ')
        expect(parse(header)).toEqual(
          challenges.map(({ scheme, parameters }) => ({ scheme, ...Object.fromEntries(parameters) })),
        )
      }),
      { numRuns: 2000 },
    )
  })

  it.each([
    ['backslashes', (n: number) => `Bearer a="${'\\'.repeat(n)}`],
    ['quotes', (n: number) => `Bearer ${'"'.repeat(n)}`],
    ['commas', (n: number) => `Bearer a="1"${','.repeat(n)}`],
    ['spaces', (n: number) => `Bearer${' '.repeat(n)}x`],
    ['equals signs', (n: number) => `Bearer ${'='.repeat(n)}`],
    ['almost a token68', (n: number) => `Bearer ${'a'.repeat(n)} x`],
    ['almost many token68', (n: number) => 'a/ '.repeat(n / 3)],
    ['token68 with white space', (n: number) => `a ${'a= \t'.repeat(n / 4)}`],
    ['schemes', (n: number) => 'a '.repeat(n / 2)],
    ['parameters', (n: number) => `Bearer ${'a=b, '.repeat(n / 5)}`],
    [
      'distinct parameters',
      (n: number) => `Bearer ${Array.from({ length: n / 10 }, (_, i) => `p${i}=x`).join(',')}`,
    ],
  ])('is parsed in linear time when it is made of %s (D2)', (_, make) => {
    // 64 times the input is 64 times the work, with room for the collector, where a quadratic parser needs 4096 times.
    // Milliseconds of this process alone: how busy the machine is does not count.
    const cost = (n: number) => {
      const header = make(n)
      const times = Array.from({ length: 5 }, () => {
        const start = process.cpuUsage()
        parseChallenges(header)
        const { user, system } = process.cpuUsage(start)
        return (user + system) / 1000
      })
      return Math.min(...times)
    }
    cost(1 << 10)
    expect(cost(1 << 16)).toBeLessThan(Math.max(cost(1 << 10), 0.1) * 64 * 12)
  })

  it('of megabytes is parsed all the same', () => {
    const value = '\\x'.repeat(3_000_000)
    expect(parse(`Bearer a="${value}"`)[0]).toHaveProperty('a.length', 3_000_000)
  })
})

describe('what an answer asks for', () => {
  const demand = (status: number, header: string | null, dpop = false) => readDemand(status, header, dpop)

  it('is a token, when a 401 has no challenge, or one of Bearer without an error or with invalid_token (D1)', () => {
    expect(demand(401, null)).toEqual({ kind: 'token' })
    expect(demand(401, 'Bearer')).toEqual({ kind: 'token' })
    expect(demand(401, 'Bearer realm="x", error="invalid_token"')).toEqual({ kind: 'token' })
    expect(demand(401, `Basic realm="x", Bearer resource_metadata="${metadata}", scope="a b"`)).toEqual({
      kind: 'token',
      resourceMetadata: metadata,
      scope: 'a b',
    })
  })

  it('is nothing, for other schemes, statuses and errors (D1)', () => {
    expect(demand(401, 'Basic realm="x"')).toBeUndefined()
    expect(demand(401, 'Negotiate')).toBeUndefined()
    expect(demand(407, 'Bearer')).toBeUndefined()
    expect(demand(400, 'Bearer error="invalid_token"')).toBeUndefined()
    expect(demand(200, 'Bearer error="invalid_token"')).toBeUndefined()
    expect(demand(403, null)).toBeUndefined()
    expect(demand(403, 'Bearer error="invalid_request", scope="a"')).toBeUndefined()
    expect(demand(403, 'Bearer realm="x"')).toBeUndefined()
    expect(demand(403, 'Basic scope="a"')).toBeUndefined()
    expect(demand(403, 'Basic error="insufficient_scope"')).toBeUndefined()
  })

  it('is a token for a 401 of Bearer whatever its error, and for a 403 with invalid_token (D1)', () => {
    for (const error of ['invalid_request', 'expired_token', 'INVALID_TOKEN', 'use_dpop_nonce', ''])
      expect(demand(401, `Bearer error="${error}", scope="a"`)).toEqual({ kind: 'token', scope: 'a' })
    expect(demand(403, 'Bearer error="Invalid_Token"')).toEqual({ kind: 'token' })
    const both = 'Bearer error="insufficient_scope", scope="a", Bearer error="invalid_token"'
    expect(demand(401, both)).toEqual({ kind: 'token' })
  })

  it('is read from single quotes like from double ones', () => {
    expect(demand(401, `Bearer resource_metadata='${metadata}', scope='a b', error='x'`)).toEqual({
      kind: 'token',
      resourceMetadata: metadata,
      scope: 'a b',
    })
    expect(demand(403, "Bearer error='insufficient_scope' , scope='a'")).toEqual({
      kind: 'scope',
      scope: 'a',
    })
    // What is no pair of quotes stays what it was.
    expect(parseChallenges("Bearer a='b, c=d' e, f='")[0]?.parameters).toMatchObject({ a: "'b", c: "d'" })
  })

  it('is a wider scope for a 401 that says so, and, if the token lacks it, for a 403 with a scope alone (D3)', () => {
    expect(demand(401, 'Bearer error="insufficient_scope", scope="a"')).toEqual({ kind: 'scope', scope: 'a' })
    expect(demand(403, 'Bearer scope="a b"')).toEqual({ kind: 'scope', scope: 'a b', implied: true })
  })

  it('is a wider scope, when a 403 says insufficient_scope (D3)', () => {
    expect(
      demand(403, `Bearer error="insufficient_scope", scope="files:write", resource_metadata="${metadata}"`),
    ).toEqual({
      kind: 'scope',
      scope: 'files:write',
      resourceMetadata: metadata,
    })
    expect(demand(403, 'Bearer error="insufficient_scope"')).toEqual({ kind: 'scope' })
  })

  it('is a stronger or fresher authentication (D4, RFC 9470)', () => {
    const error = 'error="insufficient_user_authentication"'
    expect(demand(401, `Bearer ${error}, acr_values="myACR other", max_age="5", scope="a"`)).toEqual({
      ...{ kind: 'authentication', acrValues: 'myACR other', maxAge: 5, scope: 'a' },
    })
    expect(demand(401, `Bearer ${error}, max_age=3600`)).toEqual({ kind: 'authentication', maxAge: 3600 })
    expect(demand(401, `Bearer ${error}, max_age=0`)).toEqual({ kind: 'authentication', maxAge: 0 })
    expect(demand(401, `Bearer ${error}, max_age=soon, acr_values=""`)).toEqual({ kind: 'authentication' })
    expect(demand(401, `Bearer ${error}, max_age=99999999999`)).toEqual({ kind: 'authentication' })
  })

  it('has no parameter that gives the token back, or is endless: all of them are passed on and shown (G5)', () => {
    const stepUp = 'Bearer error="insufficient_user_authentication"'
    const read = (header: string) => readDemand(401, header, false, 'the-token-that-was-sent')
    expect(read(`${stepUp}, acr_values="urn:x the-token-that-was-sent"`)).toEqual({ kind: 'authentication' })
    expect(read(`${stepUp}, acr_values="${btoa('the-token-that-was-sent')}"`)).toEqual({
      kind: 'authentication',
    })
    expect(read(`${stepUp}, acr_values="${'x'.repeat(4097)}", max_age=5`)).toEqual({
      ...{ kind: 'authentication', maxAge: 5 },
    })
    expect(read(`${stepUp}, acr_values="${'x'.repeat(4096)}"`)).toHaveProperty('acrValues')
    expect(read(`${stepUp}, scope="a the-token-that-was-sent"`)).toEqual({ kind: 'authentication' })
    expect(read('Bearer scope="a the-token-that-was-sent"')).toEqual({ kind: 'token' })
    expect(read('Bearer resource_metadata="https://a.example/the-token-that-was-sent"')).toEqual({
      kind: 'token',
    })
    expect(read(`Bearer resource_metadata="https://a.example/${'x'.repeat(4096)}"`)).toEqual({
      kind: 'token',
    })
  })

  it('takes an empty address of metadata for none, which would be the URL that was asked for (F3)', () => {
    expect(demand(401, 'Bearer resource_metadata=""')).toEqual({ kind: 'token' })
    expect(demand(401, 'Bearer resource_metadata=')).toEqual({ kind: 'token' })
  })

  it('counts DPoP only where DPoP is on (D1, D5)', () => {
    expect(demand(401, 'DPoP algs="ES256"')).toBeUndefined()
    expect(demand(401, 'DPoP algs="ES256"', true)).toEqual({ kind: 'token' })
    expect(demand(401, 'DPoP error="invalid_token"', true)).toEqual({ kind: 'token' })
    expect(demand(401, 'DPoP error="use_dpop_nonce"')).toBeUndefined()
    expect(demand(401, 'Basic realm="x", Negotiate', true)).toBeUndefined()
    expect(demand(401, 'Basic error="use_dpop_nonce"', true)).toBeUndefined()
    expect(demand(403, 'Basic error="insufficient_scope", scope="a"', true)).toBeUndefined()
    expect(demand(401, 'DPoP error="use_dpop_nonce"', true)).toEqual({ kind: 'nonce' })
    expect(demand(403, 'DPoP error="insufficient_scope", scope="a"', true)).toEqual({
      kind: 'scope',
      scope: 'a',
    })
  })

  it('takes from a scope what can be one, each once', () => {
    expect(scopeTokens('b a  b\ta', undefined, 'c"d é c\\d e')).toEqual(['b', 'a', 'e'])
    expect(demand(401, 'Bearer scope="  "')).toEqual({ kind: 'token' })
  })
})
