import type { Registry } from '@prometheus-io/client'
import type { Catalog } from '../config/catalog/catalog.ts'
import { operatorsName } from '../config/catalog/model-name.ts'
import type { RequestLine } from './request-line.ts'
import { type ServiceState, ServiceTimings, setServiceGauges } from './service-metrics.ts'
import { createSizeGauges, type Sizes } from './size-gauges.ts'

type MemoryState = 'ok' | 'high' | 'full'

/** What is so at the moment of a scrape. */
export interface Gauges {
  isReady(): boolean
  /** Paid requests and WebSockets. */
  running(): number
  /** The memory of Redis; undefined where there is none. */
  redisMemory?: (() => { usedBytes: number; limitBytes: number | undefined; state: MemoryState }) | undefined
  /** The bytes of requests that are here, in memory and in the temporary folder. */
  bodyBytes(): number
  spoolBytes(): number
  /** How many models of each provider rest. */
  resting(): ReadonlyMap<string, number>
  /** Routes of services and their targets. */
  services(): readonly ServiceState[]
  /** What grows. Never throws. */
  sizes(): Promise<Sizes>
}

/** What Prometheus is told (contract, section 9). No label holds what a client chose: their number is bounded. */
export interface Metrics {
  /** A request that is over. */
  count(line: RequestLine): void
  providerFailed(provider: string, reason: string): void
  serviceFailed(route: string, reason: string): void
  /** The head of its answer came, so long after it was asked. */
  serviceAnswered(route: string, latencyMs: number): void
  /** All metrics in Prometheus' text format. */
  write(gauges: Gauges): Promise<{ contentType: string; text: string }>
}

/** Beyond it, lines that came before the package was loaded are in the sums alone. */
const MOST_EARLY_LINES = 1000
const LOOP_PRECISION_MS = 100
const DURATIONS_S = [0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900]

type Client = typeof import('@prometheus-io/client')
type Observe = (line: RequestLine, model: string) => void

interface Opened {
  client: Client
  registry: Registry
  setSizes(sizes: Sizes): void
}

/** A sum for each set of labels: the package's own counters hash their labels at each request, this one at a scrape. */
class Sums {
  readonly #name: string
  readonly #help: string
  readonly #labels: readonly string[]
  readonly #sums = new Map<string, number>()

  constructor(name: string, help: string, labels: readonly string[]) {
    this.#name = name
    this.#help = help
    this.#labels = labels
  }

  /** `key`: the labels' values with a NUL between them. */
  add(key: string, amount: number): void {
    if (amount > 0) this.#sums.set(key, (this.#sums.get(key) ?? 0) + amount)
  }

  register({ Counter }: Client, registry: Registry): void {
    const [labels, sums] = [this.#labels, this.#sums]
    new Counter({
      name: this.#name,
      help: this.#help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset()
        for (const [key, sum] of sums) {
          const values = key.split('\0')
          this.inc(Object.fromEntries(labels.map((label, index) => [label, values[index] ?? ''])), sum)
        }
      },
    })
  }
}

function openSums() {
  return {
    requests: new Sums('gateway_requests_total', 'Requests that are over; 499: the client left.', [
      'route',
      'method',
      'status',
    ]),
    models: new Sums('gateway_model_requests_total', 'Those that named a model which is served.', [
      'provider',
      'model',
      'status',
    ]),
    tokens: new Sums('gateway_llm_tokens_total', 'LLM tokens used.', ['provider', 'kind']),
    credits: new Sums('gateway_credits_charged_total', 'Credits charged.', ['provider']),
    estimated: new Sums('gateway_usage_estimated_total', 'Requests whose usage no provider reported.', [
      'provider',
    ]),
    failures: new Sums('gateway_provider_failures_total', 'Asks of a provider that came to nothing.', [
      'provider',
      'reason',
    ]),
    serviceFailures: new Sums('gateway_service_failures_total', 'Asks of a service that came to nothing.', [
      'route',
      'reason',
    ]),
  }
}

function openTimings({ Histogram }: Client, registry: Registry): Observe {
  const histogram = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Histogram({ name, help, labelNames, buckets: DURATIONS_S, registers: [registry] })
  const whole = 'From its head to its answer’s end.'
  const first = 'Until the provider’s first byte, failover included.'
  const durations = histogram('gateway_request_duration_seconds', whole, ['route'])
  const firstBytes = histogram('gateway_first_byte_seconds', first, ['provider'])
  const ofModel = ['provider', 'model'] as const
  const modelDurations = histogram('gateway_model_duration_seconds', whole, ofModel)
  const modelFirstBytes = histogram('gateway_model_first_byte_seconds', first, ofModel)
  return ({ route = '', latencyMs = 0, provider, firstByteMs = 0 }, model) => {
    durations.observe({ route }, latencyMs / 1000)
    if (provider === undefined) return
    if (firstByteMs > 0) firstBytes.observe({ provider }, firstByteMs / 1000)
    if (model === '') return
    modelDurations.observe({ provider, model }, latencyMs / 1000)
    if (firstByteMs > 0) modelFirstBytes.observe({ provider, model }, firstByteMs / 1000)
  }
}

type Now = Omit<Gauges, 'sizes'>

function setGauges({ Gauge }: Client, registry: Registry, read: () => Now): void {
  const gauge = (name: string, help: string, value: (now: Now) => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value(read()))
      },
    })
  gauge('gateway_ready', '1: new work is taken.', ({ isReady }) => (isReady() ? 1 : 0))
  gauge('gateway_running', 'Paid requests, requests of services and WebSockets that run.', ({ running }) =>
    running(),
  )
  gauge('gateway_body_bytes', 'Bodies of requests in memory.', ({ bodyBytes }) => bodyBytes())
  gauge('gateway_spool_bytes', 'Uploads in the temporary folder.', ({ spoolBytes }) => spoolBytes())
  new Gauge({
    name: 'gateway_provider_resting_models',
    help: 'Models that are asked of others first, since this provider failed.',
    labelNames: ['provider'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [provider, count] of read().resting()) this.set({ provider }, count)
    },
  })
}

const NOTHING_YET: Now = {
  isReady: () => false,
  running: () => 0,
  bodyBytes: () => 0,
  spoolBytes: () => 0,
  resting: () => new Map(),
  services: () => [],
}

/** These exist only with Redis: the names of what there is not would read as zero. */
function setMemoryGauges({ Gauge }: Client, registry: Registry, read: () => Now): void {
  const { redisMemory } = read()
  if (redisMemory === undefined) return
  const registers = [registry]
  new Gauge({
    name: 'gateway_redis_used_bytes',
    help: 'Memory that Redis uses.',
    registers,
    collect() {
      this.set(redisMemory().usedBytes)
    },
  })
  new Gauge({
    name: 'gateway_redis_limit_bytes',
    help: 'Memory that Redis may use (maxmemory or REDIS_MEMORY_BYTES); 0: any.',
    registers,
    collect() {
      this.set(redisMemory().limitBytes ?? 0)
    },
  })
}

/** From the first scrape on: to watch the garbage collector and the event loop costs every request something. */
function watchProcess(client: Client, registry: Registry, read: () => Now): void {
  setMemoryGauges(client, registry, read)
  client.collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LOOP_PRECISION_MS })
}

/**
 * Counts from the start on; the package itself is loaded after the first answer, which it would delay. The catalog says
 * how the operator calls a model that a client has named.
 */
export function createMetrics(catalog: () => Catalog): Metrics {
  const sums = openSums()
  const services = new ServiceTimings()
  const early: { line: RequestLine; model: string }[] = []
  let gauges: Now = NOTHING_YET
  let observe: Observe | undefined
  let opening: Promise<Opened> | undefined
  let isProcessWatched = false

  const open = async (): Promise<Opened> => {
    const client = await import('@prometheus-io/client')
    const registry = new client.Registry()
    for (const one of Object.values(sums)) one.register(client, registry)
    setGauges(client, registry, () => gauges)
    setServiceGauges(client, registry, () => gauges.services())
    services.register(client, registry)
    observe = openTimings(client, registry)
    for (const { line, model } of early.splice(0)) observe(line, model)
    return { client, registry, setSizes: createSizeGauges(client, registry) }
  }
  const opened = (): Promise<Opened> => {
    opening ??= open()
    // Whatever kept it from being read (no file handle left, say) may be gone the next time.
    opening.catch(() => {
      opening = undefined
    })
    return opening
  }

  return {
    count(line) {
      const { route, method, status, provider } = line
      const model = line.model === undefined ? '' : operatorsName(catalog(), line.model)
      sums.requests.add(`${route}\0${method}\0${status}`, 1)
      if (model !== '') sums.models.add(`${provider ?? ''}\0${model}\0${status}`, 1)
      if (provider !== undefined) countUsage(sums, provider, line)
      if (observe) return observe(line, model)
      if (early.length < MOST_EARLY_LINES) early.push({ line, model })
      void opened().catch(() => undefined)
    },
    providerFailed: (provider, reason) => sums.failures.add(`${provider}\0${reason}`, 1),
    serviceFailed: (route, reason) => sums.serviceFailures.add(`${route}\0${reason}`, 1),
    serviceAnswered: (route, latencyMs) => services.count(route, latencyMs),
    async write(now) {
      gauges = now
      const [{ client, registry, setSizes }, sizes] = await Promise.all([opened(), now.sizes()])
      setSizes(sizes)
      if (!isProcessWatched) watchProcess(client, registry, () => gauges)
      isProcessWatched = true
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
  }
}

function countUsage(sums: ReturnType<typeof openSums>, provider: string, line: RequestLine): void {
  sums.tokens.add(`${provider}\0input`, line.inputTokens ?? 0)
  sums.tokens.add(`${provider}\0cached`, line.cachedTokens ?? 0)
  sums.tokens.add(`${provider}\0output`, line.outputTokens ?? 0)
  sums.tokens.add(`${provider}\0reasoning`, line.reasoningTokens ?? 0)
  sums.credits.add(provider, (line.chargedMicros ?? 0) / 1e6)
  sums.estimated.add(provider, line.estimated ? 1 : 0)
}
