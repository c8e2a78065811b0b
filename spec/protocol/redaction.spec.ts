import fc from 'fast-check'
import { quoted } from '../../lib/protocol/quoted.ts'
import { Secrets, withoutQuery } from '../../lib/protocol/redaction.ts'
import { copyOfCause } from '../../lib/protocol/failure.ts'
import { everythingOf, shows, spellings } from './support/canary.ts'
import { jwt } from './support/parties.ts'

const canary = 'cAnAry~7f3a9c1e/+=d2'
const secrets = new Secrets().add(canary)

describe('a text of a server (G5)', () => {
  it.each(Object.entries(spellings))('shows no secret that it gives back: %s', (_, spell) => {
    const text = `The token ${spell(canary)} is wrong`
    expect(shows(text, canary)).toBe(true)
    expect(shows(secrets.scrub(text), canary)).toBe(false)
    expect(shows(secrets.redact(`Look at ${quoted(text)}.`), canary)).toBe(false)
  })

  it('shows no secret, whatever it is and however it is given back', () => {
    const secret = fc.string({
      unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
      minLength: 12,
      maxLength: 300,
    })
    const around = fc.string({ maxLength: 300 })
    const spelling = fc.constantFrom(...Object.values(spellings))
    fc.assert(
      fc.property(secret, spelling, around, around, (value, spell, before, after) => {
        const own = new Secrets().add(value)
        const text = `${before} ${spell(value)} ${after}`
        expect(shows(own.scrub(text), value)).toBe(false)
        expect(shows(own.redact(`See ${quoted(text)} and ${quoted({ a: text })}.`), value)).toBe(false)
        // Cut off anywhere, a secret shows nothing of itself either.
        expect(own.scrub(text)).not.toContain(value.slice(0, 12))
        expect(own.redact(quoted(text))).not.toContain(value.slice(0, 12))
      }),
      { numRuns: 200 },
    )
  })

  it('is left alone where it holds no secret', () => {
    const text = 'Audience validation failed: https://auth.example/ is not "https://auth.example".'
    expect(secrets.scrub(text)).toBe(text)
    expect(secrets.holds(text)).toBe(false)
  })

  it('keeps what stands around a secret that is given back as it was sent', () => {
    expect(secrets.scrub(`token ${canary} is wrong`)).toBe('token [redacted] is wrong')
    expect(secrets.scrub(`a=b&c=${new URLSearchParams([['x', canary]]).toString().slice(2)}`)).toBe(
      'a=b&c=[redacted]',
    )
  })

  it('keeps nothing where the secret is spelled in another way', () => {
    expect(secrets.scrub(`token ${btoa(canary)} is wrong`)).toBe('[redacted]')
  })

  it('hides whatever has the shape of a JWT, known or not, whole or cut', () => {
    const token = jwt({ iss: 'x' })
    expect(secrets.scrub(`got ${token}, sorry`)).toBe('got [redacted], sorry')
    expect(secrets.scrub(`got ${token.slice(0, 20)}`)).toBe('got [redacted]')
    expect(secrets.scrub(`got ${token.slice(25)}`)).not.toContain(token.split('.')[1])
    expect(secrets.scrub(`got ${token.replaceAll('.', '%2E')}`)).toBe('got [redacted]')
    expect(secrets.scrub(`got ${token.replaceAll('e', '%65')}`)).toBe('[redacted]')
    expect(secrets.scrub(`got ${btoa(token)}`)).toBe('[redacted]')
    expect(secrets.holds(token)).toBe(true)
    expect(secrets.scrub('eyJ is how a JWT begins')).toBe('eyJ is how a JWT begins')
  })

  it('hides longer secrets before shorter ones that they contain', () => {
    const both = new Secrets().add('secret', 'secret-and-more')
    expect(both.scrub('secret-and-more secret')).toBe('[redacted] [redacted]')
  })

  it('shows no secret beyond ASCII in whichever spelling of its bytes', () => {
    const own = new Secrets().add('pässwört-漢字')
    for (const text of ['pässwört-漢字', 'PÄSSWÖRT-漢字'])
      expect(own.scrub(`no ${encodeURIComponent(text).toLowerCase()}`)).toBe('[redacted]')
  })

  it.each<[string, string, (secret: string) => string]>([
    ['three layers deep', 'correct-horse-0815', (secret) => btoa(btoa(btoa(secret)))],
    ['in base64 that hangs on to one letter', 'correct-horse-0815', (secret) => `a${btoa(secret)}`],
    ['in base64 that hangs on to two letters', 'correct-horse-0815', (secret) => `ab${btoa(secret)}`],
    ['in base64 that hangs on to three letters', 'correct-horse-0815', (secret) => `abc${btoa(secret)}`],
    ['half of it as in a form', 'correct horse 0815', (secret) => secret.replace(' ', '+')],
    ['beyond ASCII, escaped as in JSON', 'pässwört-0815', (secret) => secret.replace('ä', '\\u00e4')],
    ['beyond ASCII, half of it escaped', 'pässwört-0815', (secret) => secret.replace('ä', '%C3%A4')],
    ['that is short, in base64', 'sesame', btoa],
    ['beyond ASCII, escaped as in HTML', 'pässwört-0815', (secret) => secret.replace('ä', '&#xe4;')],
  ])('shows no secret %s', (_, secret, spell) => {
    const own = new Secrets().add(secret)
    expect([own.scrub(`no ${spell(secret)}`), own.holds(spell(secret))]).toEqual(['[redacted]', true])
  })

  it('is compared without white space, and not by the little that may be left of a secret then', () => {
    expect(new Secrets().add('a bcd').scrub('is A b c d here')).toBe('[redacted]')
    expect(new Secrets().add('a + \\').scrub('banana')).toBe('banana')
  })

  it('takes what is shorter than four characters, or no text, for no secret', () => {
    // What a key of unknown shape holds.
    const odd = [5, null, {}] as unknown as string[]
    expect(new Secrets().add(...odd).scrub('5 null')).toBe('5 null')
    expect(new Secrets().add('abc', '', undefined).scrub('abc abcd')).toBe('abc abcd')
    expect(new Secrets().add('abcd').scrub('abc abcd')).toBe('abc [redacted]')
  })

  it('is cut in the middle at 512 characters, after the secrets are gone, so that neither end is lost (F13)', () => {
    expect(secrets.scrub('a'.repeat(512))).toBe('a'.repeat(512))
    expect(secrets.scrub(`${'a'.repeat(300)}${'b'.repeat(300)}`)).toBe(
      `${'a'.repeat(255)}…${'b'.repeat(256)}`,
    )
    expect(secrets.scrub('a'.repeat(250) + canary + 'b'.repeat(300))).toBe(
      `${'a'.repeat(250)}[reda…${'b'.repeat(256)}`,
    )
  })

  it('keeps both ends, and is not quoted at all where it is very long (F13)', () => {
    for (const length of [600, 4_096, 5_000, 16_000]) {
      const shown = secrets.scrub(`begin ${'a '.repeat(length / 2)}end`)
      expect(shown).toMatch(/^begin a .*…[ a]* end$/)
      expect(shown).toHaveLength(512)
    }
    expect(secrets.scrub('a '.repeat(8_193))).toBe('[16386 characters]')
  })

  it.each(Object.entries(spellings))(
    'shows no secret at the ends of a long one, spelled as %s (G5)',
    (_, spell) => {
      const filling = 'x '.repeat(3_500)
      const text = spell(canary)
      for (const long of [text + filling, filling + text, filling + text + filling])
        expect(shows(secrets.scrub(long), canary)).toBe(false)
    },
  )

  it('shows no query, no fragment with values and no user of a URL', () => {
    const text = 'GET https://me:pass@a.example/p?code=1#token=2 failed, "http://b.example/#x" /c?d \'e?f=g\''
    expect(secrets.scrub(text)).toBe(
      'GET https://a.example/p?[redacted] failed, "http://b.example/#x" /c?[redacted] \'e?[redacted]\'',
    )
    expect(secrets.scrub('https://a.example/#access_token=abc')).toBe('https://a.example/#[redacted]')
    expect(secrets.scrub('https://a.example/#a#b#access_token=abc')).toBe('https://a.example/#a#b#[redacted]')
    expect(secrets.scrub('Really? Yes.')).toBe('Really? Yes.')
    expect(secrets.scrub('redis://:password@cache:6379/0 is down')).toBe('redis://cache:6379/0 is down')
  })

  it('moves no cursor, ends no line and turns no direction', () => {
    expect(secrets.scrub('a\r\nb\u001b[31mc\u0000d\u009be\u2028f\u202eg\u2066h\tі')).toBe(
      'a b [31mc d e f g h і',
    )
    expect(secrets.redact('a\nb')).toBe('a b')
    expect(secrets.scrub('\u200fa\u061cb\u200ec')).toBe(' a b c')
  })

  it('hides nothing between its characters, but for the joiners that scripts need', () => {
    expect(secrets.scrub('idp\u200b.example\u2060\ufeff!\u{e0041}')).toBe('idp .example ! ')
    expect(secrets.scrub('می\u200cخواهم')).toBe('می\u200cخواهم')
  })

  it('of the most awkward kind is looked through in no time', () => {
    const awkward = [
      '%41'.repeat(1365),
      'A'.repeat(4096),
      '"'.repeat(4096),
      '\\u0041'.repeat(682),
      'eyJ'.repeat(1365),
      '?'.repeat(4096),
      '#'.repeat(4096),
      '#='.repeat(2048),
      '://'.repeat(1365),
    ]
    for (const text of awkward) expect(secrets.scrub(text).length).toBeLessThanOrEqual(512)
    for (const text of awkward) expect(secrets.redact(quoted(text)).length).toBeLessThanOrEqual(1100)
  })

  it('is never made to throw', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 200 }),
        fc.string({ unit: 'binary', maxLength: 40 }),
        (text, secret) => {
          const own = new Secrets().add(secret)
          expect(typeof own.scrub(text + secret)).toBe('string')
          expect(typeof own.redact(quoted(text))).toBe('string')
          expect(typeof own.holds(text)).toBe('boolean')
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('a value in an explanation', () => {
  it.each([
    ['text', '"text"'],
    ['say "hi"', '"say \\"hi\\""'],
    [undefined, '"(absent)"'],
    [null, '"null"'],
    [5, '"5"'],
    [['a', 'b'], '"[\\"a\\",\\"b\\"]"'],
  ])('%j is written as %s', (value, expected) => {
    expect(secrets.redact(`It is ${quoted(value)}.`)).toBe(`It is ${expected}.`)
  })

  it('is cut on its own, and the words around it are not', () => {
    const words = 'w '.repeat(200)
    expect(secrets.redact(`${words}${quoted('a'.repeat(600))} ${words}`)).toBe(
      `${words}"${'a'.repeat(255)}…${'a'.repeat(256)}" ${words}`,
    )
  })
})

describe('an address', () => {
  it.each([
    ['https://a.example/b?c=d#e', 'https://a.example/b'],
    ['https://me:pass@a.example/b', 'https://a.example/b'],
    ['data:text/plain,secret', '(not a URL)'],
    ['urn:secret', '(not a URL)'],
    ['secret', '(not a URL)'],
    ['', '(not a URL)'],
  ])('%s is shown as %s', (url, shown) => expect(withoutQuery(url)).toBe(shown))
})

describe('the copy of a cause (G5)', () => {
  it('has name, code and scrubbed message, four deep, and nothing else', () => {
    const deepest = new Error('fifth')
    const deep = new Error('second', {
      cause: new Error('third', { cause: new Error('fourth', { cause: deepest }) }),
    })
    const error = Object.assign(new TypeError(`no ${canary}`, { cause: deep }), {
      ...{
        code: 'ECONNREFUSED',
        config: { headers: { authorization: canary } },
        response: { body: canary },
        errno: -111,
      },
    })
    const copy: any = copyOfCause(error, secrets)
    expect([copy.name, copy.message, copy.code]).toEqual(['TypeError', 'no [redacted]', 'ECONNREFUSED'])
    expect(copy.cause.cause.cause.message).toBe('fourth')
    expect(copy.cause.cause.cause.cause).toBeUndefined()
    expect(copy.config ?? copy.response ?? copy.errno).toBeUndefined()
    expect(everythingOf(copy)).not.toContain(canary)
  })

  it('is without a cause where there was none', () => {
    expect(copyOfCause(new Error('alone'), secrets)).not.toHaveProperty('cause')
  })

  it.each<[string, unknown, string]>([
    ['a string', `no ${canary}`, 'no [redacted]'],
    ['nothing', undefined, 'undefined'],
    ['null', null, 'object'],
    ['a number', 5, 'number'],
    ['a symbol', Symbol(canary), 'symbol'],
    ['an object', { message: canary }, '[redacted]'],
    ['an object without a message', { canary }, ''],
    ['a message that is no string', { message: { canary } }, ''],
    ['a DOMException', new DOMException('late', 'TimeoutError'), 'late'],
  ])('is one of %s too', (_, thrown, message) => {
    const copy = copyOfCause(thrown, secrets)
    expect(copy).toBeInstanceOf(Error)
    expect(copy.message).toBe(message)
    expect(shows(everythingOf(copy), canary)).toBe(false)
  })

  it('is one of what cannot be read, and of a circle', () => {
    const unreadable = Object.defineProperty({}, 'message', {
      get() {
        throw new Error(canary)
      },
    })
    expect(copyOfCause(unreadable, secrets).message).toBe('an error that cannot be read')
    const circle: Error & { cause?: unknown } = new Error('round')
    circle.cause = circle
    expect(everythingOf(copyOfCause(circle, secrets))).toContain('round')
  })

  it('shows no secret in name or code', () => {
    const copy: any = copyOfCause({ name: canary, code: btoa(canary), message: '' }, secrets)
    expect([copy.name, copy.code]).toEqual(['[redacted]', '[redacted]'])
  })
})
