// Follows every relative link of the documents, to files and to headings. Links of the README have to hold in the
// package as well, which holds few documents. It once caught a guide that had been renamed.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const { files: packed } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
/** Besides what package.json names, npm always packs these. */
const inPackage = [...packed, 'package.json', 'README.md', 'LICENSE']

const documents = readdirSync(root, { recursive: false })
  .filter((name) => name.endsWith('.md'))
  .concat(markdownIn('docs'), markdownIn('examples'), markdownIn('bench'))

function markdownIn(folder) {
  return readdirSync(join(root, folder), { recursive: true })
    .map((name) => join(folder, name))
    .filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
}

const withoutCode = (text) => text.replaceAll(/^```.*?^```/gms, '').replaceAll(/`[^`\n]*`/g, 'code')

/** The anchors of a document, as GitHub makes them of its headings. */
function anchorsOf(file) {
  const text = readFileSync(file, 'utf8').replaceAll(/^```.*?^```/gms, '')
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  )
}

const broken = []
let count = 0
for (const document of documents) {
  const text = withoutCode(readFileSync(join(root, document), 'utf8'))
  for (const [, target] of text.matchAll(/\]\(([^()\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue
    count++
    const [path, anchor] = target.split('#')
    const file = path === '' ? join(root, document) : resolve(root, dirname(document), path)
    const complain = (what) => broken.push(`${document}: ${target} ${what}`)
    if (!existsSync(file)) complain('does not exist')
    else if (anchor !== undefined && !anchorsOf(file).includes(anchor)) complain('has no such heading')
    else if (document === 'README.md' && !inPackage.includes(relative(root, file)))
      complain('is not in the package')
  }
}
for (const line of broken) console.error(line)
console.log(`${count} links in ${documents.length} documents, ${broken.length} broken`)
process.exitCode = broken.length === 0 ? 0 : 1
