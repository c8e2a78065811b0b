// The test of a page, in the page: bundled with esbuild, it needs neither a server nor a driver. What it has found out is
// left in the title, for whoever opened the page.
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
