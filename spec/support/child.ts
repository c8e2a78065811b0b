import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** What a process has left behind. */
export interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** Waits until a process has ended. */
export async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  const printed = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream]?.setEncoding('utf8').on('data', (text: string) => (printed[stream] += text))
  await once(child, 'close')
  return { code: child.exitCode, ...printed }
}
