// One process of bench/kit.mjs: tests a client as examples/testing does, so many times, and prints how long each took.
import { isCrossAppAccessError, withCrossAppAccess } from '../../dist/index.js'
import { createTestEnterprise } from '../../dist/testing/index.js'

/** Expiry, revocation, a wider scope, a stronger sign-in, a denial, a sign-out, an outage: what the client meets. */
async function test() {
  const met = []
  for (const steps of [lively, refused]) {
    const acme = createTestEnterprise()
    const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
    await steps(acme, async () => {
      try {
        met.push((await xaaFetch(acme.url)).status)
      } catch (error) {
        if (!isCrossAppAccessError(error)) throw error
        met.push(error.code)
      }
    })
  }
  return met.join(' ')
}

async function lively(acme, call) {
  await call()
  acme.clock.advance(301_000)
  await call()
  acme.revokeTokens()
  await call()
  acme.requireScope('notes:write')
  await call()
  acme.requireAuthentication({ acrValues: 'mfa' })
  await call()
}

async function refused(acme, call) {
  acme.deny('alice')
  await call()
  acme.clock.advance(30_000)
  acme.endSession('alice')
  await call()
  acme.clock.advance(30_000)
  acme.fail('idp', 'unreachable')
  await call()
}

const expected = '200 200 200 200 step_up_required policy_denied login_required temporarily_unavailable'
const times = []
for (let run = 0; run < 11; run++) {
  const start = performance.now()
  const met = await test()
  times.push(performance.now() - start)
  if (met !== expected) throw new Error(`expected ${expected}, got ${met}`)
}
console.log(JSON.stringify(times))
