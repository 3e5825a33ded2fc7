import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { clientAuth, isStillUsable } from './auth/client.ts'
import { holdWorstCase, refuseUncovered } from './billing/hold.ts'
import type { Catalog } from './config/catalog/catalog.ts'
import type { Settings } from './config/env/settings.ts'
import { Deadlines } from './deadlines.ts'
import { ENDPOINTS } from './dialects/endpoints.ts'
import { cors, isAllowedOrigin } from './entrance/cors.ts'
import { drain } from './entrance/drain.ts'
import { errorReply, streamErrorEvent, writeErrorBody } from './entrance/error-reply.ts'
import { guard } from './entrance/guard.ts'
import { health } from './entrance/health.ts'
import { requestId } from './entrance/request-id.ts'
import type { ExchangeTools } from './exchange/deal.ts'
import { paidRoutes } from './exchange/serve.ts'
import { openServer } from './http-server.ts'
import { accountRoute } from './limits/account.ts'
import { addressLimit } from './limits/address.ts'
import { inFlightLimit } from './limits/in-flight.ts'
import { modelRoutes } from './limits/models.ts'
import { rateLimit } from './limits/rate.ts'
import { createLive, type Live } from './live.ts'
import { realtimeRoute } from './realtime/route.ts'
import { SharedBytes } from './request/shared-bytes.ts'
import { openSpoolRoom, type SpoolRoom } from './request/spool.ts'
import { createProviderHealth } from './routing/health.ts'
import { createRetryBudget } from './routing/retry-budget.ts'
import { type PassthroughOptions, passthrough, planPassthrough } from './services/passthrough.ts'
import { serviceLookup } from './services/websocket-lookup.ts'
import { serviceRoutes } from './services/websocket-services.ts'
import type { IdempotencyStore } from './stores/contracts/idempotency.ts'
import type { SharedCounts } from './stores/contracts/places.ts'
import type { TokenStore } from './stores/contracts/token-store.ts'
import { createMetrics, type Gauges, type Metrics } from './telemetry/metrics.ts'
import { metricsRoute } from './telemetry/metrics-route.ts'
import { requestLine } from './telemetry/request-line.ts'
import { createTurns } from './turns.ts'
import { openUpstreams } from './upstream/upstreams.ts'
import { createOpenSockets } from './websocket/open-sockets.ts'
import type { WebsocketTools } from './websocket/tools.ts'
import { upgrade } from './websocket/upgrade.ts'

export interface AppNeeds {
  settings: Settings
  tokens: TokenStore
  keys: IdempotencyStore
  /** Limits that replicas share; undefined: there are none. */
  counts?: SharedCounts | undefined
  /** Of Redis, where there is one. */
  redisMemory?: Gauges['redisMemory']
  catalog(): Catalog
  logger: FastifyBaseLogger
}

export interface DrainLimits {
  delayMs: number
  graceMs: number
  settleMs: number
}

/** The HTTP service: built here, listening and draining by order of `process.ts`. */
export interface Gateway {
  app: FastifyInstance
  /** Says on `/ready` that it leaves and serves on for `delayMs`; then refuses new work, waits `graceMs` for what runs, cuts the rest and waits `settleMs` for its bills. */
  drain(limits: DrainLimits): Promise<void>
  /** How many paid requests run. */
  running(): number
}

/** The map: what happens to a request, in this order. */
export const buildApp = async (needs: AppNeeds): Promise<Gateway> => {
  const { settings, tokens, keys, counts, catalog, logger } = needs
  const app = openServer(settings, logger)
  const metrics = createMetrics()
  const tools = openTools(settings, metrics)
  const websocket = openWebsocketTools(settings, tools, tokens)
  app.addHook('onClose', () => websocket.sockets.close())
  app.addHook('onClose', () => tools.upstreams.close())
  const errors = { body: writeErrorBody, event: streamErrorEvent }
  const bodies = openBodies(settings)
  const gauges = openGauges(app, needs, { live: tools.live, ...bodies })
  const { requestsPerMinute, requestsPerDay, bodyTimeoutMs } = settings
  const hold = holdWorstCase // not with an empty purse
  const paid = { catalog, tokens, keys, hold, refuseUncovered, errors, tools, ...bodies, bodyTimeoutMs }

  await app.register(errorReply)
  await app.register(requestId)
  await app.register(requestLine, { count: metrics.count }) // one log line each, when it is over
  await app.register(drain) // not while the gateway goes down
  await app.register(guard) // not what no client sends
  await app.register(cors, { allowlist: settings.corsAllowlist })
  const isAllowed = (origin: string): boolean => isAllowedOrigin(origin, settings.corsAllowlist)
  await app.register(serviceLookup, { routes: () => catalog().wsRoutes })
  await app.register(upgrade, { isAllowedOrigin: isAllowed }) // owns every WebSocket handshake
  await app.register(health, gauges)

  const withoutToken = await addressLimit(app, settings) // not too often from one address
  await app.register(async (open) => {
    open.addHook('onRequest', withoutToken)
    await open.register(serviceRoutes, { kind: 'open', tools: websocket })
  })
  await app.register(async (known) => {
    await known.register(clientAuth, { tokens, onRefused: withoutToken }) // who is asking
    await known.register(rateLimit, { perMinute: requestsPerMinute, perDay: requestsPerDay, counts }) // not too often
    await known.register(inFlightLimit, { tokens }) // not too many at once
    await known.register(metricsRoute, { metrics, gauges })
    await known.register(passthrough, handOn(needs, tools))
    await known.register(serviceRoutes, { kind: 'token', tools: websocket })
    await known.register(
      async (v1) => {
        await v1.register(accountRoute, { tokens, requestsPerMinute, requestsPerDay })
        await v1.register(modelRoutes, { catalog })
        await v1.register(realtimeRoute, { catalog, tokens, hold, tools: websocket })
        await v1.register(paidRoutes, { endpoints: ENDPOINTS, ...paid })
      },
      { prefix: '/v1' },
    )
  })

  return { app, running: gauges.running, drain: (limits) => drainApp(app, tools.live, limits) }
}

/** What passes to a provider as it is. */
const handOn = (
  { settings, catalog }: Pick<AppNeeds, 'settings' | 'catalog'>,
  { deadlines }: ExchangeTools,
): PassthroughOptions => ({ routes: planPassthrough(settings, catalog()), timeouts: settings, deadlines })

/** What is so at this moment. */
const openGauges = (
  app: FastifyInstance,
  { tokens, redisMemory }: Pick<AppNeeds, 'tokens' | 'redisMemory'>,
  { live, memory, spool }: { live: Live } & Bodies,
): Gauges => ({
  isReady: () => tokens.isReady() && !app.drain.isLeaving,
  running: () => live.size,
  bodyBytes: () => memory.usedBytes,
  spoolBytes: () => spool.usedBytes,
  redisMemory,
})

/** What the bodies of all requests share: memory, and the disk for uploads that must be read past. */
interface Bodies {
  memory: SharedBytes
  spool: SpoolRoom
}

const openBodies = ({ bodyMemoryBytes, spoolBytes }: Settings): Bodies => ({
  memory: new SharedBytes(bodyMemoryBytes),
  spool: openSpoolRoom(spoolBytes),
})

/** What all paid requests of this app share. */
const openTools = (settings: Settings, { providerFailed }: Metrics): ExchangeTools => {
  const deadlines = new Deadlines()
  return {
    upstreams: openUpstreams(settings.connectTimeoutMs, deadlines),
    deadlines,
    live: createLive(),
    timeouts: settings,
    health: createProviderHealth(),
    unknown: createProviderHealth(),
    budget: createRetryBudget(),
    now: () => performance.now(),
    wallMs: Date.now,
    turns: createTurns(),
    providerFailed,
  }
}

/** What all WebSockets of this app share: also what HTTP requests learn about providers. */
const openWebsocketTools = (
  settings: Settings,
  { live, health: providers, unknown, budget, now, wallMs, providerFailed }: ExchangeTools,
  tokens: TokenStore,
): WebsocketTools => ({
  sockets: createOpenSockets({
    perHolder: settings.wsSocketsPerToken,
    isUsable: (secretHash) => isStillUsable(tokens, secretHash, wallMs()),
  }),
  live,
  health: providers,
  unknown,
  budget,
  timeouts: settings,
  idleTimeoutMs: settings.wsIdleTimeoutMs,
  now,
  wallMs,
  providerFailed,
})

const drainApp = async (app: FastifyInstance, live: Live, limits: DrainLimits): Promise<void> => {
  const idle = async (): Promise<void> => {
    await app.drain.idle()
    await live.empty()
  }
  app.drain.announce()
  if (limits.delayMs > 0) await sleep(limits.delayMs)
  app.drain.begin()
  app.server.closeIdleConnections()
  await within(limits.graceMs, idle())
  live.cutAll()
  await within(limits.settleMs, idle())
  app.server.closeAllConnections()
}

/** Resolves when the work is done or the time is over, whichever is first. */
const within = (ms: number, work: Promise<unknown>): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    const end = (): void => {
      clearTimeout(timer)
      resolve()
    }
    work.then(end, end)
  })
