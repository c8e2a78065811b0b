import { parseArgs } from 'node:util'

/** What the demo is asked to do. */
export interface Arguments {
  help: boolean
  json: boolean
  serve: boolean
}

export const usage = `npm run demo [-- FLAGS]

Boots a little enterprise on this machine: an identity provider, an authorization
server and an MCP server, all real, on random ports of 127.0.0.1. Signs Alice in,
and connects the official MCP client through xaa-fetch. Tells, hop by hop, what
happens on the first call, on the second, after the token was revoked, after it
expired, and when ten calls meet a revoked token at once. Takes about 7 seconds.

  --json    one line of JSON for each thing that happens, instead of the trace
  --serve   keep the servers running until Ctrl-C, print the options to paste
            into a client of your own, and tell what the servers receive
  --help    this text

Exit code: 0 all went as it should, 1 something went wrong, 64 an unknown flag.
Colours: on a terminal only, and never where NO_COLOR is set.
`

/** Reads the flags. @returns What is wrong with them, as text, where something is. */
export function readArguments(args: string[]): Arguments | string {
  const flags = { help: false, json: false, serve: false }
  const { tokens } = parseArgs({ args, strict: false, tokens: true, allowPositionals: true })
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue
    const name = token.kind === 'option' ? token.rawName : token.value
    if (token.kind !== 'option' || !Object.hasOwn(flags, token.name) || !name.startsWith('--'))
      return `unknown flag ${name}`
    if (token.value !== undefined) return `${name} takes no value`
    // It is one of the keys: the line above made sure.
    flags[token.name as keyof Arguments] = true
  }
  return flags
}
