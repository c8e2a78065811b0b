import { Readable } from 'node:stream'
import { Dispatcher, request } from 'undici'
import { crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import { installGlobalFetch } from '../../lib/index.ts'
import type { CrossAppAccess } from '../../lib/index.ts'

export type FaceName = 'middleware' | 'global' | 'interceptor'

/** As much of a request as servers in memory look at. */
export type Send = (url: string, init: RequestInit) => Promise<Response>

/** One way into an access. */
export interface Face {
  readonly call: Send
  /** Undoes what it took. */
  close(): void
}

/** Opens a way into an access, whose requests end in `send`. */
export function openFace(name: FaceName, xaa: CrossAppAccess, send: Send): Face {
  switch (name) {
    case 'middleware':
      return { call: xaa.middleware(send), close: () => undefined }
    case 'global': {
      const before = globalThis.fetch
      const own = ((url: string, init: RequestInit) => send(url, init)) as typeof fetch
      globalThis.fetch = own
      const installed = installGlobalFetch(xaa.middleware)
      return {
        call: (url, init) => fetch(url, init),
        close: () => {
          installed.uninstall()
          const isOurs = globalThis.fetch === own
          globalThis.fetch = before
          if (!isOurs) throw new Error('uninstall() left something behind (H2)')
        },
      }
    }
    case 'interceptor': {
      const dispatcher = new MemoryDispatcher(send).compose(crossAppAccessInterceptor(xaa))
      return {
        call: async (url, { method, body, signal }) => {
          const { statusCode, body: answer } = await request(url, {
            dispatcher,
            // Boundary: what a run asks with.
            method: method as Dispatcher.HttpMethod,
            body: body instanceof ReadableStream ? Readable.from(body) : ((body ?? null) as string | null),
            signal,
          })
          return new Response(await answer.text(), { status: statusCode })
        },
        close: () => undefined,
      }
    }
  }
}

/** A dispatcher whose servers are in memory. */
class MemoryDispatcher extends Dispatcher {
  readonly #send: Send

  constructor(send: Send) {
    super()
    this.#send = send
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const aborted = new AbortController()
    const controller: Dispatcher.DispatchController = {
      aborted: false,
      paused: false,
      reason: null,
      rawHeaders: null,
      rawTrailers: null,
      pause: () => undefined,
      resume: () => undefined,
      abort: (reason: Error) => {
        if (aborted.signal.aborted) return
        Object.assign(controller, { aborted: true, reason })
        aborted.abort(reason)
      },
    }
    handler.onRequestStart?.(controller, {})
    if (!aborted.signal.aborted) void this.#serve(options, handler, controller, aborted.signal)
    return true
  }

  async #serve(
    { origin, path, method, headers, body }: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
    controller: Dispatcher.DispatchController,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      // Here as undici's own fetch and the interceptor write them: a record, or names and values in turn.
      const list = Array.isArray(headers) ? headers : Object.entries(headers ?? {}).flat()
      const sent = new Headers()
      for (let at = 0; at < list.length; at += 2) sent.append(String(list[at]), String(list[at + 1]))
      // Boundary: like a dispatcher, a Response takes iterables too.
      const text = body == null ? undefined : await new Response(body as BodyInit).text()
      const init = { method, headers: sent, signal, ...(text !== undefined && { body: text }) }
      const response = await this.#send(String(origin) + path, init)
      signal.throwIfAborted()
      handler.onResponseStart?.(controller, response.status, Object.fromEntries(response.headers), '')
      const bytes = Buffer.from(await response.arrayBuffer())
      if (bytes.length > 0) handler.onResponseData?.(controller, bytes)
      handler.onResponseEnd?.(controller, {})
    } catch (error) {
      // Only errors are thrown here, and by the servers of a run.
      handler.onResponseError?.(controller, error as Error)
    }
  }
}
