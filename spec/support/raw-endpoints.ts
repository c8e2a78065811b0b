import { createHash } from 'node:crypto'
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
  /** Hexadecimal SHA-256 of the body. */
  sha256: string
  bytes: number
}

/**
 * Protected endpoints that are not MCP, for what a request and an answer look like on the wire:
 *
 * - `/echo` describes the request, byte for byte ({@link RawEcho});
 * - `/sse?events=3&intervalMs=10` streams events and ends;
 * - `/status/:code` answers with that status;
 * - `/redirect?to=URL&status=302` redirects.
 */
export function rawRouter(): Router {
  const router = Router()
  router.all('/echo', async (req, res) => void res.json(await describe(req)))
  router.all('/sse', stream)
  router.all('/status/:code', async (req, res) => {
    await readBody(req)
    res.sendStatus(Number(req.params['code']))
  })
  router.all('/redirect', (req, res) => {
    req.resume()
    const { status = '302', to = '/' } = req.query as Record<string, string | undefined>
    res.redirect(Number(status), to)
  })
  return router
}

async function describe(req: Request): Promise<RawEcho> {
  const body = await readBody(req)
  return {
    method: req.method,
    url: req.originalUrl,
    headers: req.headers,
    body: body.toString(),
    base64: body.toString('base64'),
    sha256: createHash('sha256').update(body).digest('hex'),
    bytes: body.length,
  }
}

async function readBody(req: Request): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
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
