import { wrap } from '../wrap.ts'
import { environmentName, flagSections, hasEnvironment } from './flags.ts'

const introduction = {
  doctor: `Usage: xaa doctor [<mcp-url>] [flags]

Walks the whole flow once (ID token -> ID-JAG -> access token -> MCP server), and says what is wrong, why, and what to change where. It costs one ID-JAG and one access token, which it does not keep or print. The report holds no token and no secret; it does hold claims about the user, such as a name or an e-mail address.

Without a URL it takes the only resource of the settings file.`,
  headers: `Usage: xaa headers [<mcp-url>] [flags]

Obtains an access token and prints {"Authorization":"Bearer ..."}, for MCP clients that take headers from a command. What it prints is a secret: give it to the client, not to a log or a terminal. Nothing else is written to standard output.

Without a URL it takes the only resource of the settings file.`,
} as const

const examples = {
  doctor: `Examples:
  xaa doctor https://mcp.chat.example/mcp \\
    --idp-issuer https://acme.okta.com \\
    --idp-client-id wiki --sign-in \\
    --as-issuer https://auth.chat.example/ \\
    --as-client-id f53f191f9311af35
  xaa doctor -c xaa.json --id-token-file id-token.txt
  xaa doctor -c xaa.json --brief
  get-id-token |
    xaa doctor -c xaa.json --id-token-file - --html a.html
  xaa doctor -c xaa.json --json | jq '.findings[0]'`,
  headers: `Examples:
  xaa headers -c xaa.json \\
    --id-token-command 'my-sso id-token'
  "headersHelper": "xaa headers -c /etc/xaa.json"`,
} as const

const where = `How to call it:
  npx xaa               where xaa-fetch is installed
  npx -p xaa-fetch xaa  anywhere else
  npm run -s xaa --     in a clone of the repository`

const secretsHelp = `Secrets (from environment or files, never from flags):
  XAA_IDP_CLIENT_SECRET, XAA_IDP_PRIVATE_KEY
    client secret, or private key, at the identity provider
  XAA_AS_CLIENT_SECRET, XAA_AS_PRIVATE_KEY
    the same at the authorization server
  XAA_ID_TOKEN, XAA_ID_TOKEN_FILE, XAA_ID_TOKEN_COMMAND
    the ID token, or where it comes from

METHOD is none, client_secret_basic, client_secret_post, client_secret_jwt or private_key_jwt. Without it: client_secret_basic with a secret, or client_secret_post if the server does not list basic; private_key_jwt with a key; else none.`

const settingsHelp = `Settings file (every member may be left out if a flag or the environment has it):
  {
    "idp": {
      "issuer": "https://acme.okta.com",
      "clientId": "wiki",
      "clientSecret": { "env": "IDP_SECRET" }
    },
    "authorizationServers": [
      {
        "issuer": "https://auth.chat.example/",
        "clientId": "f53f191f9311af35",
        "clientAuthentication": {
          "method": "private_key_jwt",
          "key": { "file": "key.pem" },
          "kid": "1"
        }
      }
    ],
    "resources": [
      {
        "url": "https://mcp.chat.example/mcp",
        "scope": "chat.read"
      }
    ],
    "idToken": { "command": "my-sso id-token" }
  }

The names are those of the options of the library, which reads the same file: loadOptions of xaa-fetch/config. A secret, a key or a parameter is a string, or comes from env or file, as above. idToken is one of file, command, env, refreshToken and signIn. Other members are dpop, timeouts and ca. Paths are relative to the file. For completion in an editor use settings.schema.json of the package.

A flag wins over the environment, and the environment over the file. HTTPS_PROXY, HTTP_PROXY and NO_PROXY apply, except to loopback addresses. NO_COLOR switches colours off, FORCE_COLOR on.`

const exitCodes = `Exit codes:
  0    healthy: the flow works
  1    misconfigured: something has to be changed
  2    denied: the user or the client is refused, or has to sign in again
  3    unreachable: a server does not answer
  64   usage: the command was called wrongly
  130  interrupted`

/** The help text of a command, or of all, folded at a width. */
export function helpText(command: 'doctor' | 'headers' | undefined, width: number): string {
  const sections =
    command === undefined
      ? [
          'Usage: xaa <command> [<mcp-url>] [flags]',
          'Enterprise-managed authorization of MCP clients (Cross App Access, ID-JAG).',
          'Commands:\n  doctor   walk the whole flow once and say what is wrong with it\n  headers  print the headers with an access token, as JSON',
          'xaa <command> --help says more.',
        ]
      : [
          introduction[command],
          examples[command],
          where,
          ...flagsOf(command),
          secretsHelp,
          settingsHelp,
          exitCodes,
        ]
  return `${sections.map((section) => folded(section, width)).join('\n\n')}\n`
}

/** One section a group of flags: the flag, and below it what it does. */
function flagsOf(command: 'doctor' | 'headers'): string[] {
  return flagSections.map(({ title, flags }) => {
    const lines = Object.entries(flags)
      .filter(([, { doctorOnly }]) => command === 'doctor' || doctorOnly !== true)
      .map(([name, { value, short, help }]) => {
        const left = `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`
        const variable = hasEnvironment(name) ? ` [${environmentName(name)}]` : ''
        return `  ${left}\n      ${help}${variable}`
      })
    return `${title}:\n${lines.join('\n')}`
  })
}

/** Folds each line; what follows is indented like it, or like the text beside a word in front. */
function folded(text: string, width: number): string {
  return text
    .split('\n')
    .flatMap((line) => {
      const [indent = '', hanging = ''] =
        /^ *(?:\S+ {2,})?/
          .exec(line)?.[0]
          .match(/^( *)(.*)$/)
          ?.slice(1) ?? []
      const margin = ' '.repeat(indent.length + hanging.length)
      const rows = wrap(line.slice(margin.length), width - margin.length)
      return rows.map((row, index) => `${index === 0 ? indent + hanging : margin}${row}`)
    })
    .join('\n')
}
