// Writes settings.schema.json, by which editors complete and check a settings file, from the schema that the loader
// uses and the texts of its types. With --check it only tells whether the file is up to date.
//
//   npm run build:schema
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import prettier from 'prettier'
import ts from 'typescript'
import { settingsSchema } from '../lib/config/settings-schema.ts'
import { alternatives } from '../lib/options/option-schema.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const target = `${root}settings.schema.json`

/** What a JSON Schema can say of a value of which our schema says this. Undefined: no JSON is such a value. */
const meanings = [
  [/^must be a non-empty string$/, () => ({ type: 'string', minLength: 1 })],
  [/^must be an object$/, () => ({ type: 'object' })],
  [/^must be an absolute URL$/, () => ({ type: 'string', format: 'uri' })],
  [/^must be true or false$/, () => ({ type: 'boolean' })],
  [/^must be a number of milliseconds/, () => ({ type: 'number', exclusiveMinimum: 0 })],
  [/^must be a whole number from (\d+)$/, ([, least]) => ({ type: 'integer', minimum: Number(least) })],
  [/^must be scopes separated by single spaces$/, () => ({ type: 'string', minLength: 1 })],
  [/^must be a string or false$/, () => ({ anyOf: [{ type: 'string', minLength: 1 }, { const: false }] })],
  [/^must be a list of JSON objects$/, () => ({ type: 'array', items: { type: 'object' } })],
  [/^must be a private key: a CryptoKey or a JWK$/, () => ({ type: 'object', required: ['kty', 'd'] })],
  [/^must be "/, ([text]) => ({ enum: [...text.matchAll(/"([^"]*)"/g)].map(([, word]) => word) })],
  [/^must be a (?:function|CryptoKeyPair)/, () => undefined],
]

function meaningOf(schema) {
  const message = schema._zod.def.error?.({ code: 'custom' }) ?? ''
  for (const [pattern, meaning] of meanings) {
    const match = pattern.exec(message)
    if (match !== null) return meaning([message, ...match.slice(1)])
  }
  throw new Error(`No JSON Schema is known for a value that "${message}"`)
}

/** Of the members of an object, the interface that says in words what they are. */
const interfaces = {
  idp: 'RegistrationSettings',
  authorizationServers: 'RegistrationSettings',
  clientAuthentication: 'PrivateKeyAuthentication',
  resources: 'ResourceOptions',
  timeouts: 'Timeouts',
  cache: 'CacheLimits',
  renewal: 'RenewalWindows',
  backOff: 'BackOffTimes',
  replay: 'ReplayLimits',
  idToken: 'IdTokenSettings',
  signIn: 'SignInSettings',
}

/** The comment of each member of each interface, as a text. */
const comments = new Map()
for (const file of ['config/settings-file.ts', 'options/options.ts', 'protocol/registration.ts']) {
  const source = ts.createSourceFile(
    file,
    readFileSync(`${root}lib/${file}`, 'utf8'),
    ts.ScriptTarget.Latest,
    true,
  )
  for (const statement of source.statements.filter(ts.isInterfaceDeclaration)) {
    for (const member of statement.members.filter(ts.isPropertySignature)) {
      const [doc] = member.jsDoc ?? []
      const text = ts.getTextOfJSDocComment(doc?.comment)?.replaceAll(/\{@link (\S+?)\}/g, '$1')
      if (text !== undefined)
        comments.set(`${statement.name.text}.${member.name.text}`, text.replaceAll(/\s+/g, ' '))
    }
  }
}

const describe = (names, member) =>
  names.map((name) => comments.get(`${name}.${member}`)).find((text) => text !== undefined)

const anyOf = (schemas) => (schemas.length === 1 ? schemas[0] : { anyOf: schemas })

/** The schema of a value, or undefined if no JSON is one. `names`: the interfaces that describe its members. */
function jsonSchemaOf(schema, names) {
  const among = alternatives.get(schema)
  if (among !== undefined)
    return anyOf(among.map((each) => jsonSchemaOf(each, names)).filter((each) => each !== undefined))
  const { def } = schema._zod
  switch (def.type) {
    case 'optional':
      return jsonSchemaOf(def.innerType, names)
    case 'array':
      return { type: 'array', minItems: 1, items: jsonSchemaOf(def.element, names) }
    case 'object':
      return objectOf(Object.entries(def.shape), names)
    case 'pipe':
      // What goes in is what an editor sees; a transform at the front only copies it.
      return jsonSchemaOf(def.in._zod.def.type === 'transform' ? def.out : def.in, names)
    default:
      return meaningOf(schema)
  }
}

function objectOf(shape, names) {
  const members = shape.flatMap(([name, schema]) => {
    const found = jsonSchemaOf(schema, interfaces[name] === undefined ? names : [interfaces[name]])
    return found === undefined ? [] : [[name, { description: describe(names, name), ...found }]]
  })
  const properties = Object.fromEntries(members)
  // The values of these are written like a secret.
  if (properties.parameters !== undefined) {
    const value = { ...properties.clientSecret }
    delete value.description
    properties.parameters.additionalProperties = value
  }
  const required = shape
    .filter(([name, schema]) => schema._zod.def.type !== 'optional' && name in properties)
    .map(([name]) => name)
  return {
    type: 'object',
    properties,
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  }
}

const settings = jsonSchemaOf(settingsSchema({ directory: root, env: {} }), [
  'SettingsFile',
  'CrossAppAccessOptions',
])
const written = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'Settings of xaa-fetch, for the command xaa and for loadOptions',
  ...settings,
}
const config = await prettier.resolveConfig(target)
const text = await prettier.format(JSON.stringify(written), { ...config, filepath: target })

if (!process.argv.includes('--check')) writeFileSync(target, text)
else if (readFileSync(target, 'utf8') === text) console.log('settings.schema.json is up to date')
else {
  console.error('settings.schema.json is not up to date: npm run build:schema')
  process.exitCode = 1
}
