export async function renderHtml(): Promise<string> {
  return await Promise.resolve('')
}
