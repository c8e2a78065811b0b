import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { Router } from 'express'
import type { Request, Response } from 'express'

/** What `/raw/echo` answers. */
export interface RawEcho {
  method: string
  /** Path and query. */
  url: string
  headers: Record<string, string | string[] | undefined>
  /** The body as text. */
  body: string
  base64: string
}

/**
 * Protected endpoints that are not MCP, for what a request and an answer look like on the wire:
 *
 * - `/echo` describes the request, byte for byte ({@link RawEcho});
 * - `/sse?events=3&intervalMs=10` streams events and ends.
 */
export function rawRouter(): Router {
  const router = Router()
  router.all('/echo', async (req, res) => void res.json(await describe(req)))
  router.all('/sse', stream)
  return router
}

async function describe(req: Request): Promise<RawEcho> {
  const body = await buffer(req)
  const { method, originalUrl: url, headers } = req
  return { method, url, headers, body: body.toString(), base64: body.toString('base64') }
}

async function stream(req: Request, res: Response): Promise<void> {
  const { events = '3', intervalMs = '10' } = req.query as Record<string, string | undefined>
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  res.flushHeaders()
  for (let i = 0; i < Number(events) && !res.destroyed; i++) {
    res.write(`id: ${i}\ndata: {"event":${i}}\n\n`)
    await delay(Number(intervalMs))
  }
  res.end()
}
