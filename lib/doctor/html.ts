import type { Report } from './report.ts'

export async function renderHtml(report: Report): Promise<string> {
  return await Promise.resolve(report.summary)
}
