/**
 * What is wrong with the flow: walks it once and explains what it saw.
 *
 * @module
 */
export { diagnose } from './diagnose.ts'
export type { DiagnoseInit } from './diagnose.ts'
export { renderHtml } from './html.ts'
export { renderText } from './text.ts'
export type {
  Comparison,
  DecodedToken,
  Exchange,
  ExchangeStep,
  Outcome,
  Party,
  Progress,
  Report,
  ReportedError,
  ReportedFinding,
  ServerClock,
} from './report.ts'
