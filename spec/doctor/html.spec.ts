import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser, Page } from 'puppeteer-core'
import { diagnose, renderHtml } from '../../lib/doctor/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { chromium, startBrowser } from './support/browser.ts'

let enterprise: Enterprise
let directory: string

beforeAll(async () => {
  enterprise = await startEnterprise()
  directory = mkdtempSync(join(tmpdir(), 'xaa-page-'))
})

afterAll(async () => {
  await enterprise.close()
  rmSync(directory, { recursive: true })
})

afterEach(() => enterprise.reset())

const attack = `"'><script>window.pwned = 1</script><img src=x onerror="window.pwned=1"><svg onload=window.pwned=1>`

/** A page on which every server says something hostile. */
async function hostilePage(): Promise<string> {
  const { idp, mcp } = enterprise
  idp.behaviour.alterIdJag = ({ header, claims }) => ({
    header: { ...header, kid: attack },
    claims: { ...claims, client_id: attack, [attack]: attack, nested: { [attack]: [attack] } },
  })
  mcp.behaviour.challenge = (standard) => `${standard}, realm="${attack.replaceAll('"', '')}"`
  mcp.behaviour.scopesSupported = ['chat.read', attack.replaceAll(' ', '')]
  return await renderHtml(await diagnose(enterprise.options(), mcp.url))
}

describe('The page', () => {
  test('holds nothing that a server wrote but as text, and a policy against everything else', async () => {
    const page = await hostilePage()
    expect(page).not.toMatch(/<(?:script|img|iframe|object|link|form)\b/i)
    expect(page.replace(/&#\d+;/g, '')).not.toMatch(/<[^>]*\son\w+=/i)
    expect(page).toMatch(/content="default-src &#39;none&#39;; style-src &#39;sha256-[\w+/]+=&#39;; base-uri/)
    expect(page).toContain('&#60;script&#62;')
  })
})

const inChromium = chromium === undefined ? describe.skip : describe

inChromium('The page in Chromium (skipped where none is found; CHROMIUM_PATH names one)', () => {
  let browser: Browser
  let close: () => Promise<void>

  beforeAll(async () => ({ browser, close } = await startBrowser()))
  afterAll(() => close())

  /** Opens a page from a file, and notes whatever it complains of or asks for. */
  async function open(html: string, viewport: { width: number; scheme?: 'light' | 'dark' }) {
    const path = join(directory, 'report.html')
    writeFileSync(path, html)
    const page = await browser.newPage()
    const complaints: string[] = []
    const requests: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('request', (request) => requests.push(request.url()))
    await page.setViewport({ width: viewport.width, height: 844, isMobile: viewport.width < 500 })
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: viewport.scheme ?? 'light' }])
    await page.goto(pathToFileURL(path).href)
    return { page, complaints, requests, url: pathToFileURL(path).href }
  }

  const shown = async (page: Page, selector: string) =>
    await page.$eval(
      selector,
      (element) => element.checkVisibility() && element.getBoundingClientRect().height > 100,
    )

  test('is drawn from the file alone, without a complaint, hostile texts inert', async () => {
    const { page, complaints, requests, url } = await open(await hostilePage(), { width: 1100 })
    expect(complaints).toEqual([])
    expect(requests).toEqual([url])
    expect(await page.evaluate(() => 'pwned' in window)).toBe(false)
    expect(await page.$$eval('script, img, iframe, object, embed, form', (found) => found.length)).toBe(0)
    // The attack is there, as text: where the claim stands, and in the advice.
    expect(await page.$eval('td.mismatch', (cell) => cell.textContent)).toContain(
      '<script>window.pwned = 1</script>',
    )
    // The style holds: its hash is the one in the policy.
    expect(await page.$eval('.card', (card) => getComputedStyle(card).borderRadius)).toBe('10px')
    await page.close()
  })

  test('draws each request from the client to its party and back, in the colour of its outcome', async () => {
    enterprise.idp.behaviour.alterIdJag = ({ header, claims }) => ({
      header,
      claims: { ...claims, client_id: 'x' },
    })
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    const { page } = await open(await renderHtml(report), { width: 1100 })
    const hops = await page.$$eval('.sequence.wide .hop', (found) =>
      found.map((hop) => ({
        verdict: hop.classList[1],
        label: hop.querySelector('.label')?.textContent,
        colour: getComputedStyle(hop).color,
        top: hop.getBoundingClientRect().top,
      })),
    )
    expect(hops.map(({ verdict }) => verdict)).toEqual(report.exchanges.map(({ verdict }) => verdict))
    expect(hops.find(({ label }) => label === 'ID token for an ID-JAG')).toMatchObject({
      verdict: 'bad',
      colour: 'rgb(198, 40, 40)',
    })
    expect(hops[0]).toMatchObject({ verdict: 'good', colour: 'rgb(21, 127, 61)' })
    const tops = hops.map(({ top }) => top)
    expect(tops).toEqual([...tops].sort((a, b) => a - b))
    expect(await page.$eval('.sequence.wide title', (title) => title.textContent)).toContain(
      'ID token for an ID-JAG, 200',
    )
    await page.close()
  })

  test('fits a phone: its own diagram, and nothing wider than the screen', async () => {
    const { page } = await open(await hostilePage(), { width: 390 })
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390)
    expect(await shown(page, '.sequence.narrow')).toBe(true)
    expect(await shown(page, '.sequence.wide')).toBe(false)
    const size = await page.$eval('.sequence.narrow .label', (label) => label.getBoundingClientRect().height)
    expect(size).toBeGreaterThan(10)
    await page.close()
  })

  test.each([
    ['light', 'rgb(246, 247, 249)'],
    ['dark', 'rgb(17, 20, 24)'],
  ] as const)('is %s where the reader wants it so', async (scheme, background) => {
    const { page } = await open(await hostilePage(), { width: 1100, scheme })
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe(background)
    await page.close()
  })
})
