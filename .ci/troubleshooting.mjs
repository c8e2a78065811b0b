// Fills the lists of findings in docs/troubleshooting.md, from what the doctor and the errors say. With --check it
// changes nothing, and fails if the document is out of date or leaves a finding out.
//
// A list stands between two comments: <!-- findings: id id --> and <!-- end -->.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as prettier from 'prettier'
import { tsImport } from 'tsx/esm/api'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const path = join(root, 'docs', 'troubleshooting.md')

const { explanations } = await tsImport('../lib/doctor/explanations.ts', import.meta.url)
const { findings } = await tsImport('../lib/protocol/findings.ts', import.meta.url)
const { refusalFindings } = await tsImport('../lib/protocol/refusal-findings.ts', import.meta.url)

const server = { issuer: 'https://auth.chat.example/', token_endpoint: 'https://auth.chat.example/token' }
const registration = { issuer: server.issuer, clientId: 'f53f191f9311af35', clientSecret: 'secret' }

/** Arguments for those findings that take something else than texts. */
const samples = {
  untrustedServer: [[['…'], [], 'https://acme.okta.com']],
  foreignIdToken: ['iss', 'aud'].map((claim) => [claim, '…', '…']),
  idJagClaim: ['typ', 'aud', 'client_id', 'resource', 'exp', 'cnf.jkt'].map((claim) => [claim, '…', '…']),
  accessDenied: [['identity_provider', '…']],
  policyDenied: [['unauthorized_client', { audience: '…', resource: '…', scope: '…' }]],
  idJagNotIssuedHere: [['https://acme.okta.com', server]],
  clientRejected: [[registration, server, 'client_secret_basic']],
  dpopWanted: [['authorization_server']],
  jwtBearerUnsupported: [[server]],
  grantRejected: [[{ error: 'invalid_grant', parameters: {}, server, clientMethod: 'client_secret_basic' }]],
  clockSkew: [[420]],
}

/** What to change, by the id of the finding. The first that is found counts. */
const advice = new Map()
const add = (id, text) => {
  // A sample that does not fit the finding once wrote "NaN seconds ago" into the document.
  if (/\b(?:NaN|undefined)\b|\[object/.test(text))
    throw new Error(`The sample for ${id} does not fit: ${text}`)
  if (!advice.has(id)) advice.set(id, text)
}

for (const [name, make] of Object.entries({ ...findings, ...refusalFindings })) {
  for (const sample of samples[name] ?? [['…', '…', '…']]) {
    const { id, advice: text } = make(...sample)
    add(id, text)
  }
}
readAdvice(join(root, 'lib', 'protocol', 'stated-reasons.ts'))
for (const name of readdirSync(join(root, 'lib', 'doctor'))) {
  if (name.endsWith('.ts')) readAdvice(join(root, 'lib', 'doctor', name))
}

/** Finds what a file says by itself: calls of `observation`, and lists of objects that have an id and an advice. */
function readAdvice(file) {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true)
  const visit = (node) => {
    if (ts.isCallExpression(node) && node.expression.getText() === 'observation') {
      const [, id, , text] = node.arguments
      if (id !== undefined && ts.isStringLiteral(id)) add(id.text, textOf(text))
    }
    if (ts.isObjectLiteralExpression(node)) {
      const member = (name) => node.properties.find((each) => each.name?.getText() === name)?.initializer
      const id = member('id')
      if (id !== undefined && ts.isStringLiteral(id) && member('advice') !== undefined)
        add(id.text, textOf(member('advice').body ?? member('advice')))
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
}

/** The text of an expression, with … for what is not known before. Of several texts the last. */
function textOf(node) {
  if (ts.isStringLiteralLike(node)) return node.text
  if (ts.isConditionalExpression(node)) return textOf(node.whenFalse)
  if (ts.isTemplateExpression(node))
    return node.head.text + node.templateSpans.map(({ literal }) => `“…”${literal.text}`).join('')
  if (ts.isIdentifier(node)) {
    for (let scope = node.parent; scope !== undefined; scope = scope.parent) {
      const declared = (scope.statements ?? [])
        .filter(ts.isVariableStatement)
        .flatMap(({ declarationList }) => declarationList.declarations)
        .find(({ name }) => name.getText() === node.text)
      if (declared?.initializer !== undefined) return textOf(declared.initializer)
    }
  }
  throw new Error(`No text found in ${node.getText()}`)
}

/** Names of options, which are set as code. */
const optionNames =
  /\b(?:resources|authorizationServers)\[\]\.\w+|\b(?:idp|dpop|timeouts|clientAuthentication)\.\w+/g

/** A finding as a point of a list. */
function point(id) {
  const { title, reference } = explanations[id]
  if (!advice.has(id)) throw new Error(`No advice found for ${id}`)
  const name = title.replace('{server}', 'a server').replace('{Server}', 'A server')
  const link = reference === undefined ? '' : ` ([${reference.title}](${reference.url}))`
  const text = advice
    .get(id)
    .replaceAll(/[<*]/g, '\\$&')
    .replaceAll('"…"', '“…”')
    .replaceAll(optionNames, '`$&`')
  return `- **${name}** (\`${id}\`). ${text}${link}`
}

const before = readFileSync(path, 'utf8')
const listed = []
const filled = before.replaceAll(/(<!-- findings: (.*?) -->\n).*?(<!-- end -->)/gs, (_, start, ids, end) => {
  const wanted = ids.trim().split(/\s+/)
  listed.push(...wanted)
  const unknown = wanted.filter((id) => !Object.hasOwn(explanations, id))
  if (unknown.length > 0)
    throw new Error(`docs/troubleshooting.md: no finding is called ${unknown.join(', ')}`)
  return `${start}\n${wanted.map(point).join('\n')}\n\n${end}`
})
const missing = Object.keys(explanations).filter((id) => !listed.includes(id))
const after = await prettier.format(filled, { ...(await prettier.resolveConfig(path)), parser: 'markdown' })

if (missing.length > 0) {
  console.error(`docs/troubleshooting.md leaves out: ${missing.join(' ')}`)
  process.exitCode = 1
}
if (!process.argv.includes('--check')) writeFileSync(path, after)
else if (after !== before) {
  console.error('docs/troubleshooting.md is out of date: npm run docs:troubleshooting')
  process.exitCode = 1
}
console.log(`${new Set(listed).size} findings in docs/troubleshooting.md`)
