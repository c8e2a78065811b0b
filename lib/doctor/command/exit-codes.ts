import type { Outcome } from '../report.ts'

/** What the command ends with. */
export const exitCodes: Record<Outcome | 'usage' | 'interrupted', number> = {
  healthy: 0,
  misconfigured: 1,
  denied: 2,
  unreachable: 3,
  usage: 64,
  interrupted: 130,
}
