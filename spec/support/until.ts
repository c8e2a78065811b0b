import { setImmediate } from 'node:timers/promises'

/** Waits for something that is about to be so, however fast this machine is. Bounded, so that a spec that fails ends. */
export async function until(holds: () => boolean): Promise<void> {
  for (let turns = 0; !holds(); turns++) {
    if (turns > 5_000_000) throw new Error('This never comes')
    await setImmediate()
  }
}
