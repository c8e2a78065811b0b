import { environmentName, flagSections, hasEnvironment } from './flags.ts'

const introduction = {
  doctor: `Usage: xaa doctor <mcp-url> [flags]

Walks the whole flow once (ID token -> ID-JAG -> access token -> MCP server), and says
what is wrong, why, and what to change where. It costs one ID-JAG and one access token,
which it does not keep or print. The report holds no token and no secret; it does hold
claims about the user, such as a name or an e-mail address.`,
  headers: `Usage: xaa headers <mcp-url> [flags]

Obtains an access token and prints {"Authorization":"Bearer ..."}, for MCP clients that
take headers from a command. What it prints is a secret: it belongs into the client, not
into a log or a terminal. Nothing else is written to standard output.`,
} as const

const examples = {
  doctor: `Examples:
  xaa doctor https://mcp.chat.example/mcp \\
    --idp-issuer https://acme.okta.com --idp-client-id wiki --sign-in \\
    --as-issuer https://auth.chat.example/ --as-client-id f53f191f9311af35
  XAA_IDP_CLIENT_SECRET=... XAA_AS_CLIENT_SECRET=... \\
    xaa doctor https://mcp.chat.example/mcp --config xaa.json --id-token-file id-token.txt
  get-id-token | xaa doctor https://mcp.chat.example/mcp -c xaa.json --id-token-file - --html report.html
  xaa doctor https://mcp.chat.example/mcp -c xaa.json --sign-in --json | jq .findings[0]`,
  headers: `Examples:
  xaa headers https://mcp.chat.example/mcp -c xaa.json --id-token-command 'my-sso id-token'
  "headersHelper": "xaa headers https://mcp.chat.example/mcp -c /etc/xaa.json"`,
} as const

const settingsHelp = `Secrets (from environment or files, never from flags):
  XAA_IDP_CLIENT_SECRET   XAA_IDP_PRIVATE_KEY   client secret, or private key, at the identity provider
  XAA_AS_CLIENT_SECRET    XAA_AS_PRIVATE_KEY    the same at the authorization server
  XAA_ID_TOKEN            XAA_ID_TOKEN_FILE     XAA_ID_TOKEN_COMMAND

METHOD is none, client_secret_basic, client_secret_post, client_secret_jwt or private_key_jwt.
Without it: with a secret basic, or post where the server lists no basic; with a key
private_key_jwt; else none.

Settings file (every member may be left out where a flag or the environment has it):
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
  A registration also takes clientSecret, clientSecretFile, privateKeyEnv, alg, assertionAudience
  and tokenEndpoint; a resource match, authorizationServer, resource, audience and
  authorizationDetails; idToken file, env, type and signIn {port, scope}; the file itself dpop,
  timeoutSeconds and ca. Paths are relative to the file.

A flag comes before the environment, and that before the file. HTTPS_PROXY, HTTP_PROXY and NO_PROXY
are heeded, but for loopback addresses, which no proxy sees. NO_COLOR switches colours off, FORCE_COLOR on.`

const exitCodes = `Exit codes:
  0  healthy        the flow works
  1  misconfigured  something has to be changed
  2  denied         the user or the client is refused, or has to sign in again
  3  unreachable    a server does not answer
  64 usage          the command was called wrongly
  130               interrupted`

/** The help text of a command, or of all. */
export function helpText(command: 'doctor' | 'headers' | undefined): string {
  if (command === undefined) {
    return (
      [
        'Usage: xaa <command> <mcp-url> [flags]',
        'Enterprise-managed authorization of MCP clients (Cross App Access, ID-JAG).',
        'Commands:\n  doctor   walk the whole flow once and say what is wrong with it\n  headers  print the headers with an access token, as JSON',
        'xaa <command> --help says more.',
      ].join('\n\n') + '\n'
    )
  }
  const sections = flagSections.map(({ title, flags }) => {
    const lines = Object.entries(flags)
      .filter(([, { doctorOnly }]) => command === 'doctor' || doctorOnly !== true)
      .map(([name, { value, short, help }]) => {
        const left = `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`
        const variable = hasEnvironment(name) ? ` [${environmentName(name)}]` : ''
        return `  ${left.padEnd(32)} ${help}${variable}`
      })
    return `${title}:\n${lines.join('\n')}`
  })
  return [introduction[command], examples[command], ...sections, settingsHelp, exitCodes].join('\n\n') + '\n'
}
