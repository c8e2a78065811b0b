// The test of a page, in the page: it needs neither a server nor a driver. What it has found out is left in the title, for
// whoever opened the page.
//
//   npx esbuild browser/page.ts --bundle --format=esm --outfile=page.js
//   (echo '<title></title><script type="module">'; cat page.js; echo '</script>') > page.html
//   chromium --headless --virtual-time-budget=5000 --dump-dom page.html | head -n 1
import { withCrossAppAccess } from 'xaa-fetch'
import { createTestEnterprise } from 'xaa-fetch/testing'
import { readNotes } from '../notes-client.ts'

async function findOut(): Promise<string[]> {
  const acme = createTestEnterprise()
  const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
  const found: string[] = []
  const note = async () => found.push((await readNotes(acme.url, xaaFetch)).kind)

  await note()
  acme.clock.advance(301_000)
  await note()
  acme.endSession('alice')
  acme.revokeTokens()
  await note()
  return [...found, `${acme.counts.exchanges} exchanges`]
}

document.title = (await findOut()).join(', ')
