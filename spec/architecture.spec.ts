import { readFileSync, readdirSync } from 'node:fs'
import { join, posix } from 'node:path'
import ts from 'typescript'

const root = join(__dirname, '../lib')

interface Import {
  /** A path under lib without its ending, or the name of a package. */
  readonly of: string
  /** Whether nothing of it is left at run time. */
  readonly typeOnly: boolean
}

/** All modules under lib, by path without ending, with what they import. */
const modules = new Map(
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path.replace(/\.ts$/, ''), importsOf(path)] as const),
)

/** Static, dynamic and type imports, and exports of another module. */
function importsOf(path: string): Import[] {
  const source = ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.Latest)
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, typeOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return
    const { text } = specifier
    const own = text.startsWith('.') ? posix.join(posix.dirname(path), text).replace(/\.ts$/, '') : text
    found.push({ of: own, typeOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const clause = node.importClause
      const named =
        clause?.namedBindings !== undefined && ts.isNamedImports(clause.namedBindings)
          ? clause.namedBindings.elements
          : undefined
      const allTypes =
        clause?.name === undefined && named !== undefined && named.every(({ isTypeOnly }) => isTypeOnly)
      add(node.moduleSpecifier, clause?.phaseModifier === ts.SyntaxKind.TypeKeyword || allTypes)
    }
    if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly)
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false)
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const imports = (module: string): Import[] => modules.get(module) ?? []

/** All that a module needs, directly or not. */
function reach(
  module: string,
  counts: (found: Import) => boolean = () => true,
  seen = new Set<string>(),
): Set<string> {
  for (const found of imports(module)) {
    if (!counts(found) || seen.has(found.of)) continue
    seen.add(found.of)
    reach(found.of, counts, seen)
  }
  return seen
}

/** `module -> import` wherever an import of `allowed` modules comes from another module. */
function importersOf(matches: (name: string) => boolean): string[] {
  return [...modules]
    .filter(([, found]) => found.some(({ of }) => matches(of)))
    .map(([module]) => module)
    .sort()
}

const isPackage = (name: string) => (found: string) => found === name || found.startsWith(`${name}/`)

describe('the modules', () => {
  it('are all there, and import only modules that are there', () => {
    expect(modules.size).toBeGreaterThan(30)
    const unknown = [...modules].flatMap(([module, found]) =>
      found
        .filter(({ of }) => !modules.has(of) && !/^(?:jose|zod|undici|node:)/.test(of))
        .map(({ of }) => `${module} -> ${of}`),
    )
    expect(unknown).toEqual([])
  })

  it('depend downwards only: index, cross-app-access, middleware, token-source, protocol, errors', () => {
    const spine = [
      'index',
      'cross-app-access',
      'middleware',
      'token/token-source',
      'protocol/acquire',
      'errors',
    ]
    const upwards = spine.flatMap((lower, position) => {
      const needs = reach(lower)
      return spine
        .slice(0, position)
        .filter((upper) => needs.has(upper))
        .map((upper) => `${lower} -> ${upper}`)
    })
    expect(upwards).toEqual([])
    // And it is a spine: each leads to the next.
    spine.slice(1).forEach((lower, position) => expect(reach(spine[position])).toContain(lower))
  })

  it('go round in no circle, once their types are gone', () => {
    const values = ({ typeOnly }: Import) => !typeOnly
    const circles = [...modules.keys()].filter((module) => reach(module, values).has(module))
    expect(circles).toEqual([])
  })

  it('of protocol/ know nothing above them but errors, their types included', () => {
    const above = [...modules]
      .filter(([module]) => module.startsWith('protocol/'))
      .flatMap(([module, found]) => found.map(({ of }) => ({ module, of })))
      .filter(({ of }) => modules.has(of) && !of.startsWith('protocol/') && of !== 'errors')
    expect(above).toEqual([])
    expect(imports('errors')).toEqual([])
  })

  it('of adapters/ and doctor/ are entries: nothing below needs them', () => {
    const height = (module: string) =>
      ['adapters/', 'doctor/'].findIndex((folder) => module.startsWith(folder))
    const upwards = [...modules].flatMap(([module, found]) =>
      found.filter(({ of }) => height(of) > height(module)).map(({ of }) => `${module} -> ${of}`),
    )
    expect(upwards).toEqual([])
  })
})

describe('options/', () => {
  it('know nothing of requests and of tokens, their types included', () => {
    const above = [...modules]
      .filter(([module]) => module.startsWith('options/'))
      .flatMap(([module, found]) => found.map(({ of }) => ({ module, of })))
      .filter(({ of }) => modules.has(of) && !/^(?:options\/|protocol\/|events$|errors$)/.test(of))
    expect(above).toEqual([])
  })
})

describe('packages', () => {
  const allowed: [name: string, places: RegExp][] = [
    ['jose', /^(?:protocol\/|options\/|doctor\/)/],
    ['zod', /^(?:protocol\/|options\/|doctor\/)/],
    ['undici', /^adapters\/undici(?:$|\/)/],
    ['node:', /^(?:adapters\/(?:undici|redis)(?:$|\/)|doctor\/)/],
  ]

  it.each(allowed)('%s is imported only at %s', (name, places) => {
    const matches = name.endsWith(':') ? (found: string) => found.startsWith(name) : isPackage(name)
    expect(importersOf(matches).filter((module) => !places.test(module))).toEqual([])
  })

  it.each(['index', 'adapters/mcp', 'protocol/index'])(
    'of one platform are not needed to load %s: no node: and no undici',
    (entry) => {
      expect(modules.has(entry)).toBe(true)
      const needs = [...reach(entry)].filter((found) => !modules.has(found))
      expect(needs.filter((found) => /^(?:node:|undici)/.test(found))).toEqual([])
    },
  )

  it('of zod are zod/mini, and the types of its core: the rest is six times as large', () => {
    const ours = [...modules].flatMap(([module, found]) =>
      found
        .filter(({ of }) => isPackage('zod')(of))
        .map(({ of, typeOnly }) => ({ module, of: typeOnly ? `types of ${of}` : of })),
    )
    expect(ours.length).toBeGreaterThan(3)
    expect(
      ours.filter(({ of }) => !['zod/mini', 'types of zod/mini', 'types of zod/v4/core'].includes(of)),
    ).toEqual([])
  })

  it.each(['index', 'adapters/mcp', 'adapters/undici/index', 'protocol/index'])(
    'of jose that sign are loaded by %s only when something is to be signed; only decoding comes with it',
    (entry) => {
      const decoding = ['jose/base64url', 'jose/decode/protected_header', 'jose/jwt/decode']
      const loaded = new Set(
        [...modules.keys()]
          .filter((module) => module === entry || reach(entry).has(module))
          .flatMap((module) => staticImportsOf(`${module}.ts`))
          .filter(isPackage('jose')),
      )
      expect([...loaded].filter((found) => !decoding.includes(found))).toEqual([])
      // And they are found at all, where they are wanted.
      expect(reach(entry)).toContain('jose/jwt/sign')
    },
  )

  it('of jose are imported part by part: its root would bring all of them', () => {
    const whole = [...modules].flatMap(([module, found]) =>
      found.filter(({ of, typeOnly }) => of === 'jose' && !typeOnly).map(() => module),
    )
    expect(whole).toEqual([])
  })
})

/** What is loaded together with a module. */
function staticImportsOf(path: string): string[] {
  const source = ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.Latest)
  return source.statements.flatMap((statement) => {
    if (
      !ts.isImportDeclaration(statement) ||
      statement.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
    )
      return []
    return ts.isStringLiteral(statement.moduleSpecifier) ? [statement.moduleSpecifier.text] : []
  })
}
