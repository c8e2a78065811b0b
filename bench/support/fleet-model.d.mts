export interface Happening {
  at: number
  /** Absent if all processes start anew. */
  process?: number
}
export interface ScheduleOptions {
  processes: number
  callsPerHour: number
  hours: number
  restarts?: number
  random?: () => number
}
export function scheduleOf(options: ScheduleOptions): Generator<Happening>
export function exchangesOf(
  options: { lifetimeMs: number; shared: boolean; jitter?: () => number } & (
    { schedule: Iterable<Happening> } | ScheduleOptions
  ),
): number
export function monthOf(processes: number): { processes: number; shared: number; alone: number }
