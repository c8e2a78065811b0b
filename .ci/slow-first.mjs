// Starts the specs that take longest first: on two cores the suite otherwise ends with one of them alone. Jest itself
// knows that only from an earlier run, which a fresh clone has not had.
import Sequencer from '@jest/test-sequencer'

const slow = [
  'demo',
  'model',
  'packaging',
  'sweep',
  'redis/fleet-model',
  'redis/fleet',
  'testing/runners',
  'bounds',
  'doctor/cli',
  'chaos',
  'doctor/catalogue',
  'integration/faults',
  'adapters/mcp',
  'vendors/story',
  'examples',
  'conformance',
]

const rankOf = ({ path }) => {
  const rank = slow.findIndex((name) => path.replaceAll('\\', '/').endsWith(`/spec/${name}.spec.ts`))
  return rank === -1 ? slow.length : rank
}

export default class SlowFirst extends (Sequencer.default ?? Sequencer) {
  sort(tests) {
    return super.sort(tests).sort((a, b) => rankOf(a) - rankOf(b))
  }
}
