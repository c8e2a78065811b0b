import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { telemetry } from '../examples/opentelemetry.ts'
import { createCrossAppAccess } from '../lib/index.ts'
import { createTestEnterprise } from '../lib/testing/index.ts'

describe('the OpenTelemetry example, with the real SDK', () => {
  const acme = createTestEnterprise()
  const spans = new InMemorySpanExporter()
  const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const tracing = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })
  const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 })
  const metering = new MeterProvider({ readers: [reader] })

  afterAll(async () => {
    await Promise.all([tracing.shutdown(), metering.shutdown()])
  })

  beforeEach(() => {
    spans.reset()
    acme.reset()
  })

  const onEvent = telemetry(tracing.getTracer('spec'), metering.getMeter('spec'))
  const access = () => createCrossAppAccess({ ...acme.optionsFor('alice'), fetch: acme.fetch, onEvent })

  it('makes one span of a flight, with a client span for each of its requests below it', async () => {
    const response = await access().middleware(acme.fetch)(acme.url)
    expect(response.status).toBe(200)

    const finished = spans.getFinishedSpans()
    const flight = finished.find(({ name }) => name === 'xaa.acquire')
    const requests = finished.filter(
      (span) => span.parentSpanContext?.spanId === flight?.spanContext().spanId,
    )
    expect(flight?.attributes['xaa.resource']).toBe(acme.url)
    expect(requests.map(({ attributes }) => attributes['url.full']).sort()).toEqual(
      [
        'https://mcp.chat.example/.well-known/oauth-protected-resource/mcp',
        'https://login.acme.example/.well-known/oauth-authorization-server',
        'https://auth.chat.example/.well-known/oauth-authorization-server',
        'https://login.acme.example/token',
        'https://auth.chat.example/token',
      ].sort(),
    )
    expect(requests.every(({ attributes }) => attributes['http.response.status_code'] === 200)).toBe(true)
    expect(JSON.stringify(finished.map(({ attributes, status }) => [attributes, status]))).not.toMatch(/eyJ/)
  })

  it('marks a denial as an error, by its code and step', async () => {
    acme.deny('alice')
    await expect(access().getAccessToken(acme.url)).rejects.toMatchObject({ code: 'policy_denied' })

    const flight = spans.getFinishedSpans().find(({ name }) => name === 'xaa.acquire')
    expect(flight?.attributes).toMatchObject({ 'error.type': 'policy_denied', 'xaa.step': 'token_exchange' })
    expect(flight?.status.message).toContain('access_denied')
  })

  it('counts outcomes and uses, and measures requests', async () => {
    const wrapped = access().middleware(acme.fetch)
    await wrapped(acme.url)
    await wrapped(acme.url)
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
