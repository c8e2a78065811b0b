// Starts the specs that take longest first: on two cores the suite otherwise ends with one of them alone. Jest itself
// knows that only from an earlier run, which a fresh clone has not had.
import Sequencer from '@jest/test-sequencer'

const slow = [
  'packaging',
  'bounds',
  'demo',
  'vendors/story',
  'model',
  'chaos',
  'doctor/catalogue',
  'doctor/cli',
  'examples',
  'conformance',
  'doctor/diagnose',
  'adapters/undici',
  'support',
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
