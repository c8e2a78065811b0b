import { readFileSync, readdirSync } from 'node:fs'
import { join, posix } from 'node:path'
import ts from 'typescript'

const root = join(__dirname, '../lib')

interface Import {
  /** A path under lib without its ending, or the name of a package. */
  readonly of: string
  /** How much of it there is: its types, or the module when it is wanted, or the module from the start. */
  readonly as: 'types' | 'on_demand' | 'at_load'
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
  const add = (specifier: ts.Node | undefined, as: Import['as']): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return
    const { text } = specifier
    const own = text.startsWith('.') ? posix.join(posix.dirname(path), text).replace(/\.ts$/, '') : text
    found.push({ of: own, as })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const typeOnly = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
      add(node.moduleSpecifier, typeOnly ? 'types' : 'at_load')
    }
    if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly ? 'types' : 'at_load')
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], 'on_demand')
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, 'types')
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** All modules and packages that a module needs, directly or not. */
function reach(module: string, counts: (found: Import) => boolean = () => true): Set<string> {
  const seen = new Set<string>()
  const follow = (name: string): void => {
    for (const found of modules.get(name) ?? []) {
      if (!counts(found) || seen.has(found.of)) continue
      seen.add(found.of)
      follow(found.of)
    }
  }
  follow(module)
  return seen
}

/** `importer -> imported` for each import that is `wrong`. */
function arrows(wrong: (importer: string, imported: string) => boolean): string[] {
  return [...modules]
    .flatMap(([module, found]) =>
      found.filter(({ of }) => wrong(module, of)).map(({ of }) => `${module} -> ${of}`),
    )
    .sort()
}

/**
 * The rooms from the top down. A module imports from its own room and from those below it, never from one above. Modules
 * at the root of lib/ that are not named for a room stand beside the one they are listed with.
 */
const rooms: readonly (readonly string[])[] = [
  ['index', 'adapters/', 'testing/', 'doctor/', 'config/'],
  ['cross-app-access', 'global-fetch', 'id-token-from-refresh-token'],
  ['middleware', 'fetch-middleware'],
  ['request/'],
  ['token/'],
  ['options/'],
  ['events'],
  ['protocol/'],
  ['errors'],
]

const floorOf = (module: string): number =>
  rooms.findIndex((names) =>
    names.some((name) => (name.endsWith('/') ? module.startsWith(name) : module === name)),
  )

describe('the modules of lib/', () => {
  it('are all there, and import only modules and packages that are there', () => {
    expect(modules.size).toBeGreaterThan(50)
    const known = (name: string) => modules.has(name) || /^(?:(?:jose|zod|undici)(?:\/|$)|node:)/.test(name)
    expect(arrows((_, imported) => !known(imported))).toEqual([])
  })

  it('each stand in a room, and at most ten of them at the root', () => {
    expect([...modules.keys()].filter((module) => floorOf(module) === -1)).toEqual([])
    expect([...modules.keys()].filter((module) => !module.includes('/')).length).toBeLessThanOrEqual(10)
  })

  it('import from their own room and from those below, never from one above, types included', () => {
    const isUpwards = (importer: string, imported: string) =>
      modules.has(imported) && floorOf(imported) < floorOf(importer)
    expect(arrows(isUpwards)).toEqual([])
  })

  it('of the spine lead each to the next', () => {
    const spine = [
      'index',
      'cross-app-access',
      'middleware',
      'token/token-source',
      'protocol/acquire',
      'errors',
    ]
    spine.slice(1).forEach((lower, position) => expect(reach(spine[position] ?? '')).toContain(lower))
  })

  it('go round in no circle, types included', () => {
    const circles = [...modules.keys()].filter((module) => reach(module).has(module)).sort()
    expect(circles).toEqual([])
  })

  it('of protocol/ know nothing outside but the errors, and those know nothing at all', () => {
    const outside = (importer: string, imported: string) =>
      importer.startsWith('protocol/') &&
      modules.has(imported) &&
      !imported.startsWith('protocol/') &&
      imported !== 'errors'
    expect(arrows(outside)).toEqual([])
    expect(modules.get('errors')).toEqual([])
  })

  it.each(['adapters/', 'testing/', 'doctor/', 'config/'])(
    'outside of %s do not need it: it is an entry of its own',
    (room) => {
      // The commands read the settings file, and go through a proxy with the fetch of the undici entry.
      const mayNeed = (module: string) => module.startsWith('doctor/') || module.startsWith('config/')
      const isNeeded = (importer: string, imported: string) =>
        imported.startsWith(room) && !importer.startsWith(room) && !mayNeed(importer)
      expect(arrows(isNeeded)).toEqual([])
    },
  )
})

describe('packages', () => {
  const allowed: [name: string, places: RegExp][] = [
    ['jose', /^(?:protocol|doctor|testing|adapters\/redis)(?:\/|$)/],
    ['zod', /^(?:options|protocol|doctor|config)\//],
    ['undici', /^adapters\/undici\//],
    ['node:', /^(?:(?:adapters\/undici|doctor|config)\/|testing\/listen$)/],
  ]

  it.each(allowed)('%s is imported only where it is allowed', (name, places) => {
    const isIt = (imported: string) =>
      name.endsWith(':') ? imported.startsWith(name) : imported === name || imported.startsWith(`${name}/`)
    expect(arrows((importer, imported) => isIt(imported) && !places.test(importer))).toEqual([])
  })

  it.each(['index', 'adapters/mcp', 'protocol/index'])(
    'are not needed to load %s on any platform: no node: and no undici, types included',
    (entry) => {
      expect(modules.has(entry)).toBe(true)
      expect([...reach(entry)].filter((found) => /^(?:node:|undici)/.test(found))).toEqual([])
    },
  )

  it('of zod are zod/mini, and the types of its core: the rest is six times as large', () => {
    const ours = [...modules.values()].flat().filter(({ of }) => /^zod\b/.test(of))
    const names = new Set(ours.map(({ of, as }) => (as === 'types' ? `types of ${of}` : of)))
    expect(ours.length).toBeGreaterThan(3)
    const known = ['zod/mini', 'types of zod/mini', 'types of zod/v4/core']
    expect([...names].filter((name) => !known.includes(name))).toEqual([])
  })

  it('of zod are taken member by member: its own `z` in one object would be bundled whole', () => {
    const sources = [...modules.keys()].map((module) => readFileSync(join(root, `${module}.ts`), 'utf8'))
    expect(sources.filter((text) => /import (?:z\b|\{[^}]*\bz\b[^}]*\}) from 'zod/.test(text))).toEqual([])
  })

  it.each(['index', 'adapters/mcp', 'adapters/undici/index', 'protocol/index'])(
    'of jose that sign are loaded by %s only when something is to be signed; only decoding comes with it',
    (entry) => {
      const decoding = ['jose/base64url', 'jose/decode/protected_header', 'jose/jwt/decode']
      const loaded = [...reach(entry, ({ as }) => as === 'at_load')].filter((found) => /^jose\b/.test(found))
      expect(loaded.filter((found) => !decoding.includes(found))).toEqual([])
      // And they are found at all, where they are wanted.
      expect(reach(entry)).toContain('jose/jwt/sign')
    },
  )

  it('of jose are imported part by part: its root would bring all of them', () => {
    const whole = [...modules].flatMap(([module, found]) =>
      found.filter(({ of, as }) => of === 'jose' && as !== 'types').map(() => module),
    )
    expect(whole).toEqual([])
  })
})
