// Turns the events of xaa-fetch into OpenTelemetry spans and metrics, with the semantic conventions for HTTP clients.
//
// Give `telemetry(...)` to the option `onEvent`. A flight becomes a span `xaa.acquire`, each of its requests a child span
// of kind client. No span holds a token: no event does.
import { SpanKind, SpanStatusCode, trace, context } from '@opentelemetry/api'
import type { Meter, Span, Tracer } from '@opentelemetry/api'
import {
  ATTR_ERROR_TYPE,
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
  ATTR_URL_FULL,
  METRIC_HTTP_CLIENT_REQUEST_DURATION,
} from '@opentelemetry/semantic-conventions'
import type { CrossAppAccessEvent } from 'xaa-fetch'

type Hop = CrossAppAccessEvent & { type: 'hop' }

/** Makes a listener for `onEvent` that reports to a tracer and a meter. */
export function telemetry(tracer: Tracer, meter: Meter): (event: CrossAppAccessEvent) => void {
  const flights = new Map<number, Span>()
  const requestDuration = meter.createHistogram(METRIC_HTTP_CLIENT_REQUEST_DURATION, { unit: 's' })
  const acquisitions = meter.createCounter('xaa.acquisitions', { description: 'Attempts to obtain a token' })
  const uses = meter.createCounter('xaa.token.uses', {
    description: 'Requests sent with a token from memory',
  })
  const replays = meter.createCounter('xaa.replays', { description: 'Requests sent again' })

  const end = (event: CrossAppAccessEvent, outcome: string) => {
    acquisitions.add(1, { 'xaa.outcome': outcome, 'xaa.resource': event.resource })
    if (event.flight === undefined) return
    flights.get(event.flight)?.end(event.time)
    flights.delete(event.flight)
  }

  return (event) => {
    switch (event.type) {
      case 'acquire_started': {
        if (event.flight === undefined) return
        const attributes = { 'xaa.resource': event.resource, 'xaa.reason': event.reason }
        flights.set(event.flight, tracer.startSpan('xaa.acquire', { attributes, startTime: event.time }))
        return
      }
      case 'hop':
        recordHop(event, event.flight === undefined ? undefined : flights.get(event.flight))
        return
      case 'acquire_failed': {
        const span = event.flight === undefined ? undefined : flights.get(event.flight)
        span?.setAttributes({ [ATTR_ERROR_TYPE]: event.error.code, 'xaa.step': event.error.step })
        span?.setStatus({ code: SpanStatusCode.ERROR, message: event.error.message })
        end(event, event.error.code)
        return
      }
      case 'token_acquired':
        end(event, 'acquired')
        return
      case 'token_used':
      case 'token_served_stale':
        uses.add(1, { 'xaa.resource': event.resource })
        return
      case 'replay':
        replays.add(1, { 'xaa.resource': event.resource })
        return
      default:
    }
  }

  function recordHop(event: Hop, parent: Span | undefined): void {
    const { hostname, port, protocol } = new URL(event.endpoint)
    const method = event.step === 'discovery' ? 'GET' : 'POST'
    const attributes = {
      [ATTR_HTTP_REQUEST_METHOD]: method,
      [ATTR_URL_FULL]: event.endpoint,
      [ATTR_SERVER_ADDRESS]: hostname,
      [ATTR_SERVER_PORT]: Number(port === '' ? (protocol === 'https:' ? 443 : 80) : port),
      ...(event.status === undefined
        ? { [ATTR_ERROR_TYPE]: 'no_answer' }
        : { [ATTR_HTTP_RESPONSE_STATUS_CODE]: event.status }),
      ...(event.status !== undefined && event.status >= 400 && { [ATTR_ERROR_TYPE]: String(event.status) }),
    }
    const surroundings = parent === undefined ? context.active() : trace.setSpan(context.active(), parent)
    const startTime = event.time - event.durationMs
    const span = tracer.startSpan(method, { kind: SpanKind.CLIENT, attributes, startTime }, surroundings)
    if (ATTR_ERROR_TYPE in attributes) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end(event.time)
    requestDuration.record(event.durationMs / 1000, attributes)
  }
}
