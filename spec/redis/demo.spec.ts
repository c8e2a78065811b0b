import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { DemoEvent } from '../../examples/demo/events.ts'
import { describeWithRedis } from './describe.ts'

const root = join(__dirname, '../..')
const run = (path: string, ...flags: string[]) =>
  spawnSync(
    process.execPath,
    ['node_modules/tsx/dist/cli.mjs', 'examples/demo/main.ts', '--fleet', ...flags],
    {
      cwd: root,
      env: { PATH: path, NODE_NO_WARNINGS: '1' },
      encoding: 'utf8',
    },
  )

describeWithRedis('npm run demo -- --fleet', () => {
  it('plays four chapters with four processes, and adds up', () => {
    const { status, stdout, stderr } = run(process.env['PATH'] ?? '', '--json')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as DemoEvent)
    const [summary] = events
      .flatMap((event) => (event.type === 'fleet_summary' ? event.rows : []))
      .slice(0, 1)
    expect(summary).toMatchObject({ chapter: 1, calls: 4, exchanges: 1, alone: 4 })
    expect(events.filter(({ type }) => type === 'chapter')).toHaveLength(4)
    expect(stdout).not.toMatch(/eyJ/)
  })
})

it('says so where there is no redis-server', () => {
  const { status, stderr } = run('/nowhere')
  expect(status).toBe(1)
  expect(stderr).toContain('There is no redis-server on this machine.')
})
