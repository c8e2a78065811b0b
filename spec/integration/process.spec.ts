import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { outcomeOf } from '../support/child.ts'
import { startEnterprise } from '../support/enterprise.ts'

const hour = 3_600_000

const tsx = pathToFileURL(createRequire(__filename).resolve('tsx')).href

it('leaves nothing behind: a program ends by itself, after success, abort and failure, without a warning', async () => {
  await using enterprise = await startEnterprise()
  const { idToken } = await enterprise.signIn()
  const { getIdToken: _, ...options } = enterprise.options()
  const program = require.resolve('./program.ts')
  // A time limit that is not cleared would keep the program for an hour.
  const timeouts = { requestMs: hour, acquireMs: hour }
  const PROGRAM_OPTIONS = JSON.stringify({ idToken, ...options, timeouts })
  const { PATH } = process.env
  const child = spawn(process.execPath, ['--import', tsx, program], { env: { PATH, PROGRAM_OPTIONS } })
  const { code, stdout, stderr } = await outcomeOf(child)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(JSON.parse(stdout)).toEqual([
    [200, 200, 200],
    'enough',
    ['CrossAppAccessError', 'CrossAppAccessError'],
    'gone',
  ])
})
