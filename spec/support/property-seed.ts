// Property specs explore the same cases in every run, so that a red run can be repeated. To look further:
// FAST_CHECK_SEED=$RANDOM npm test
import { configureGlobal } from 'fast-check'

configureGlobal({ seed: Number(process.env['FAST_CHECK_SEED'] ?? 20260617) })
