import { parseArgs } from 'node:util'

/** What the demo is asked to do. */
export interface Arguments {
  help: boolean
  json: boolean
  serve: boolean
  /** Port of the desk of `--serve`, the three servers follow; 0 is any. */
  port: number
  fleet: boolean
}

export const usage = `npm run demo [-- FLAGS]

Boots a little enterprise on this machine: an identity provider, an
authorization server and an MCP server, all real, on random ports of 127.0.0.1.
Signs Alice in, and connects the official MCP client through xaa-fetch. Tells,
hop by hop, what happens on the first call, on the second, after the token was
revoked, after it expired, and when ten calls meet a revoked token at once.
Takes about 7 seconds.

  --json    one line of JSON for each thing that happens, instead of the trace
  --serve   keep the servers running until Ctrl-C, print the options to paste
            into a client of your own, and tell what the servers receive
  --port N  with --serve: use N and the three ports after it, so that what you
            pasted works again tomorrow
  --fleet   four processes that share tokens through a real redis-server: cold,
            revoked, one of them killed, Redis restarted
  --help    this text

With --serve, these requests (curl -X POST) to the address that it prints make
happen what happens in the field:

  /revoke    access tokens are revoked
  /expire    access tokens end, and new ones live for seconds only
  /deny      the identity provider denies a user
  /step-up   a wider scope is wanted, or with ?acr=mfa a stronger sign-in
  /logout    a user is signed out; /login signs in again
  /reset     all of that is taken back

Exit code: 0 all went as it should, 1 something went wrong, 64 an unknown flag.
Colours: on a terminal only, and never if NO_COLOR is set.
`

/** Reads the flags. @returns What is wrong with them, as text, if something is. */
export function readArguments(args: string[]): Arguments | string {
  const flags = { help: false, json: false, serve: false, fleet: false }
  let port: string | undefined
  const options = { port: { type: 'string' } } as const
  const { tokens } = parseArgs({ args, strict: false, tokens: true, allowPositionals: true, options })
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue
    const name = token.kind === 'option' ? token.rawName : token.value
    if (name === '--port' && token.value !== undefined) {
      port = token.value
      continue
    }
    if (name === '--port') return '--port takes a number'
    if (token.kind !== 'option' || !Object.hasOwn(flags, token.name) || !name.startsWith('--'))
      return `unknown flag ${name}`
    if (token.value !== undefined) return `${name} takes no value`
    // It is one of the keys: the line above made sure.
    flags[token.name as keyof typeof flags] = true
  }
  if (port === undefined) return { ...flags, port: 0 }
  if (!flags.serve) return '--port goes with --serve'
  if (!/^\d{4,5}$/.test(port) || Number(port) < 1024 || Number(port) > 65_532)
    return '--port takes a number from 1024 to 65532'
  return { ...flags, port: Number(port) }
}
