import { inspect } from 'node:util'

/** All that a program can see of a value by printing it: an error with its causes, an event, a message. */
export function everythingOf(value: unknown): string {
  const texts = [
    inspect(value, {
      showHidden: true,
      depth: Infinity,
      getters: true,
      maxStringLength: null,
      maxArrayLength: null,
    }),
  ]
  const seen = new Set<unknown>()
  const walk = (part: unknown): void => {
    if (typeof part === 'string') texts.push(part)
    if (typeof part !== 'object' || part === null || seen.has(part)) return
    seen.add(part)
    for (const key of Reflect.ownKeys(part)) {
      texts.push(String(key))
      walk((part as Record<PropertyKey, unknown>)[key])
    }
  }
  walk(value)
  try {
    texts.push(JSON.stringify(value))
  } catch {
    // What cannot be written as JSON is not printed that way.
  }
  return texts.join('\n')
}

/** Which canaries a text shows: as they are, percent-encoded, escaped, or in base64, two layers deep. */
export function shown(text: string, canaries: Record<string, string>): string[] {
  const plain = (part: string) => part.toLowerCase().replace(/\s+/g, '')
  const found = new Set<string>()
  // Each line once: an error, its stack and its JSON say the same again and again.
  let layer = new Set([[...new Set(text.split('\n'))].join('\n')])
  for (let depth = 0; depth <= 2; depth++) {
    for (const part of layer) {
      const readable = plain(part)
      for (const [name, canary] of Object.entries(canaries))
        if (readable.includes(plain(canary))) found.add(name)
    }
    if (depth < 2) layer = new Set([...layer].flatMap(readings))
  }
  return Object.keys(canaries).filter((name) => found.has(name))
}

export function shows(text: string, canary: string): boolean {
  return shown(text, { canary }).length > 0
}

function readings(text: string): string[] {
  return [
    text
      .replace(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)))
      .replace(/\\u([0-9a-f]{4})/gi, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)))
      .replace(/&#x([0-9a-f]{2});/gi, (_, digits: string) => String.fromCharCode(parseInt(digits, 16))),
    ...[0, 1, 2, 3].map((offset) =>
      text.replace(/[A-Za-z0-9+/_-]{8,}/g, (run) =>
        Buffer.from(run.slice(offset), 'base64').toString('latin1'),
      ),
    ),
  ]
}

/** Spellings in which a server may give back what it was sent. */
export const spellings: Record<string, (text: string) => string> = {
  plain: (text) => text,
  'percent-encoded': (text) => encodeURIComponent(text),
  'percent-encoded, every character': (text) => hex(text, (digits) => `%${digits}`),
  'percent-encoded, every second character, in lower case': (text) =>
    Array.from(text, (character, index) =>
      index % 2 === 0 ? character : hex(character, (digits) => `%${digits.toLowerCase()}`),
    ).join(''),
  'percent-encoded twice': (text) => encodeURIComponent(hex(text, (digits) => `%${digits}`)),
  'form-encoded': (text) => new URLSearchParams([['x', text]]).toString(),
  base64: (text) => btoa(text),
  base64url: (text) => Buffer.from(text).toString('base64url'),
  'base64 within a word': (text) => `ab${btoa(text)}`,
  'base64 of a percent-encoding': (text) => btoa(encodeURIComponent(text)),
  'base64, percent-encoded': (text) => encodeURIComponent(btoa(text)),
  'JSON in JSON': (text) => JSON.stringify(JSON.stringify({ echo: text })),
  'JSON escapes': (text) => hex(text, (digits) => `\\u00${digits}`),
  'HTML escapes': (text) => hex(text, (digits) => `&#x${digits};`),
  'capital letters': (text) => text.toUpperCase(),
  'with spaces in between': (text) => text.replace(/(.{4})/g, '$1 '),
  'on several lines': (text) => text.replace(/(.{4})/g, '$1\n'),
}

function hex(text: string, write: (digits: string) => string): string {
  return Array.from(text, (character) =>
    write(character.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()),
  ).join('')
}
