import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { telemetry } from '../examples/opentelemetry.ts'
import { createCrossAppAccess } from '../lib/index.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'

describe('the OpenTelemetry example, with the real SDK', () => {
  let enterprise: Enterprise
  const spans = new InMemorySpanExporter()
  const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const tracing = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })
  const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 })
  const metering = new MeterProvider({ readers: [reader] })

  beforeAll(async () => {
    enterprise = await startEnterprise()
  })

  afterAll(async () => {
    await Promise.all([enterprise.close(), tracing.shutdown(), metering.shutdown()])
  })

  beforeEach(() => {
    spans.reset()
    enterprise.reset()
  })

  const listener = telemetry(tracing.getTracer('spec'), metering.getMeter('spec'))

  it('makes one span of a flight, with a client span for each of its requests below it', async () => {
    const xaa = createCrossAppAccess(enterprise.options({ onEvent: listener }))
    const response = await xaa.middleware(fetch)(`${enterprise.mcp.url}/raw/echo`)
    expect(response.status).toBe(200)

    const finished = spans.getFinishedSpans()
    const flight = finished.find(({ name }) => name === 'xaa.acquire')
    const requests = finished.filter(
      (span) => span.parentSpanContext?.spanId === flight?.spanContext().spanId,
    )
    expect(flight?.attributes['xaa.resource']).toBe(enterprise.mcp.url)
    expect(requests.map(({ attributes }) => attributes['url.full']).sort()).toEqual(
      [
        `${enterprise.mcp.origin}/.well-known/oauth-protected-resource/mcp`,
        `${enterprise.idp.origin}/.well-known/oauth-authorization-server`,
        `${enterprise.authorizationServer.origin}/.well-known/oauth-authorization-server`,
        enterprise.idp.tokenEndpoint,
        enterprise.authorizationServer.tokenEndpoint,
      ].sort(),
    )
    expect(requests.every(({ attributes }) => attributes['http.response.status_code'] === 200)).toBe(true)
    expect(JSON.stringify(finished.map(({ attributes, status }) => [attributes, status]))).not.toMatch(/eyJ/)
  })

  it('marks a denial as an error, by its code and step', async () => {
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    const xaa = createCrossAppAccess(enterprise.options({ onEvent: listener }))
    await expect(xaa.getAccessToken(enterprise.mcp.url)).rejects.toMatchObject({ code: 'policy_denied' })

    const flight = spans.getFinishedSpans().find(({ name }) => name === 'xaa.acquire')
    expect(flight?.attributes).toMatchObject({ 'error.type': 'policy_denied', 'xaa.step': 'token_exchange' })
    expect(flight?.status.message).toContain('access_denied')
  })

  it('counts outcomes and uses, and measures requests', async () => {
    const xaa = createCrossAppAccess(enterprise.options({ onEvent: listener }))
    const wrapped = xaa.middleware(fetch)
    await wrapped(`${enterprise.mcp.url}/raw/echo`)
    await wrapped(`${enterprise.mcp.url}/raw/echo`)
    await reader.forceFlush()

    const recorded = metrics
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics)
      .flatMap((scope) => scope.metrics)
    const names = new Set(recorded.map(({ descriptor }) => descriptor.name))
    expect(names).toEqual(
      new Set(['http.client.request.duration', 'xaa.acquisitions', 'xaa.token.uses', 'xaa.replays']),
    )
  })
})
