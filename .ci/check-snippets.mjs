// Compiles every TypeScript snippet of the documents and of the TSDoc examples against the library's sources.
// It once caught an option in the README that had been renamed in the code.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { entries } from './entries.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const out = join(root, 'node_modules', '.cache', 'snippets')

// What a document's reader has around: an application with a session, and the options, the fetch and the client of the first steps.
const prelude = `
declare global {
  const session: { readonly idToken: string | undefined; readonly refreshToken: string; save(refreshToken: string): Promise<void> }
  const options: import('xaa-fetch').CrossAppAccessOptions
  const xaaFetch: typeof fetch
  const client: import('@modelcontextprotocol/client').Client
  const signIn: (acrValues?: string) => Promise<void>
}
export {}
`

const files = (folder, ending) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath, entry.name))

function snippetsOf(file) {
  const text = readFileSync(file, 'utf8')
  if (file.endsWith('.md')) return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code)
  return [...text.matchAll(/^ *\* ```ts\n(.*?)^ *\* ```/gms)].map(([, code]) =>
    code.replaceAll(/^ *\* ?/gm, ''),
  )
}

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
writeFileSync(join(out, 'prelude.d.ts'), prelude)

let count = 0
const sources = [join(root, 'README.md'), ...files('docs', '.md'), ...files('lib', '.ts')]
for (const file of sources) {
  for (const [index, code] of snippetsOf(file).entries()) {
    const name = `${relative(root, file).replaceAll(/[^a-z0-9]+/gi, '-')}-${index + 1}.ts`
    writeFileSync(join(out, name), `// ${relative(root, file)}, snippet ${index + 1}\n${code}\nexport {}\n`)
    count++
  }
}
const paths = Object.fromEntries(entries.map(({ name, source }) => [name, [join(root, source)]]))
const compilerOptions = {
  noEmit: true,
  rootDir: root,
  paths,
  types: ['node'],
  // A snippet is no library: what it exports needs no declarations.
  isolatedDeclarations: false,
  declaration: false,
  declarationMap: false,
  noUnusedLocals: false,
  noPropertyAccessFromIndexSignature: false,
  skipLibCheck: true,
}
const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: ['.'] }
writeFileSync(join(out, 'tsconfig.json'), JSON.stringify(config))

try {
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', out], {
    stdio: 'inherit',
  })
  console.log(`${count} snippets compile`)
} catch {
  console.error('A snippet does not compile: the first line of each file says where it stands.')
  process.exitCode = 1
}
