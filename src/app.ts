import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { clientAuth, isStillUsable } from './auth/client.ts'
import { holdWorstCase, refuseUncovered } from './billing/hold.ts'
import type { Catalog } from './config/catalog/catalog.ts'
import type { Settings } from './config/env/settings.ts'
import { ENDPOINTS } from './dialects/endpoints.ts'
import { cors, isAllowedOrigin } from './entrance/cors.ts'
import { drain } from './entrance/drain.ts'
import { errorReply, streamErrorEvent, writeErrorBody } from './entrance/error-reply.ts'
import { guard } from './entrance/guard.ts'
import { health } from './entrance/health.ts'
import { requestId } from './entrance/request-id.ts'
import { paidRoutes } from './exchange/paid-routes.ts'
import { openShared, type Shared } from './exchange/shared.ts'
import { openServer } from './http-server.ts'
import { accountRoute } from './limits/account.ts'
import { addressLimit } from './limits/address.ts'
import { inFlightLimit } from './limits/in-flight.ts'
import { modelRoutes } from './limits/models.ts'
import { rateLimit } from './limits/rate.ts'
import { realtimeRoute } from './realtime/route.ts'
import type { RealtimeShared } from './realtime/session.ts'
import { type PassthroughOptions, passthrough, planPassthrough } from './services/passthrough.ts'
import { serviceLookup } from './services/websocket-lookup.ts'
import { serviceRoutes } from './services/websocket-services.ts'
import { type DrainLimits, drainApp } from './shutdown.ts'
import type { IdempotencyStore } from './stores/contracts/idempotency.ts'
import type { SharedCounts } from './stores/contracts/places.ts'
import type { TokenStore } from './stores/contracts/token-store.ts'
import { createMetrics, type Gauges } from './telemetry/metrics.ts'
import { metricsRoute } from './telemetry/metrics-route.ts'
import { requestLine } from './telemetry/request-line.ts'
import { OpenSockets } from './websocket/open-sockets.ts'
import { upgrade } from './websocket/upgrade.ts'

export interface AppNeeds {
  settings: Settings
  tokens: TokenStore
  keys: IdempotencyStore
  /** Limits that replicas share; undefined: there are none. */
  counts?: SharedCounts | undefined
  /** The memory of Redis, where there is one. */
  redisMemory?: Gauges['redisMemory']
  catalog(): Catalog
  logger: FastifyBaseLogger
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
  const { settings, tokens, counts, catalog, logger } = needs
  const app = openServer(settings, logger)
  const { metrics, shared, sockets, gauges } = openAll(app, needs)
  const { requestsPerMinute, requestsPerDay } = settings

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
    await open.register(serviceRoutes, { kind: 'open', shared: sockets })
  })
  await app.register(async (known) => {
    await known.register(clientAuth, { tokens, onRefused: withoutToken }) // who is asking
    await known.register(rateLimit, { perMinute: requestsPerMinute, perDay: requestsPerDay, counts }) // not too often
    await known.register(inFlightLimit, { tokens }) // not too many at once
    await known.register(metricsRoute, { metrics, gauges })
    await known.register(passthrough, handOn(needs, shared))
    await known.register(serviceRoutes, { kind: 'token', shared: sockets })
    await known.register(
      async (v1) => {
        await v1.register(accountRoute, { tokens, requestsPerMinute, requestsPerDay })
        await v1.register(modelRoutes, { catalog })
        await v1.register(realtimeRoute, { catalog, tokens, hold: holdWorstCase, shared: sockets })
        await v1.register(paidRoutes, { endpoints: ENDPOINTS, shared }) // exchange/serve.ts is the second map
      },
      { prefix: '/v1' },
    )
  })

  return { app, running: gauges.running, drain: (limits) => drainApp(app, shared.live, limits) }
}

/** What lives as long as the app, and is closed with it. */
const openAll = (app: FastifyInstance, needs: AppNeeds) => {
  const { settings, tokens, keys, catalog } = needs
  const metrics = createMetrics()
  const { providerFailed } = metrics
  const hold = holdWorstCase // not with an empty purse
  const errors = { body: writeErrorBody, event: streamErrorEvent }
  const shared = openShared(settings, {
    catalog,
    tokens,
    keys,
    hold,
    refuseUncovered,
    errors,
    providerFailed,
  })
  const sockets = openSockets(settings, shared, tokens)
  app.addHook('onClose', () => sockets.sockets.close())
  app.addHook('onClose', () => shared.upstreams.close())
  return { metrics, shared, sockets, gauges: openGauges(app, needs, shared) }
}

/** What passes to a provider as it is. */
const handOn = (
  { settings, catalog }: Pick<AppNeeds, 'settings' | 'catalog'>,
  { deadlines }: Shared,
): PassthroughOptions => ({ routes: planPassthrough(settings, catalog()), timeouts: settings, deadlines })

/** What is so at this moment. */
const openGauges = (
  app: FastifyInstance,
  { tokens, redisMemory }: Pick<AppNeeds, 'tokens' | 'redisMemory'>,
  { live, memory, spool }: Shared,
): Gauges => ({
  isReady: () => tokens.isReady() && !app.drain.isLeaving,
  running: () => live.size,
  bodyBytes: () => memory.usedBytes,
  spoolBytes: () => spool.usedBytes,
  redisMemory,
})

/** What all WebSockets of this app share: also what HTTP requests learn about providers. */
const openSockets = (settings: Settings, shared: Shared, tokens: TokenStore): RealtimeShared => ({
  sockets: new OpenSockets({
    perHolder: settings.wsSocketsPerToken,
    isUsable: (secretHash) => isStillUsable(tokens, secretHash, shared.wallMs()),
  }),
  live: shared.live,
  health: shared.health,
  missingModels: shared.missingModels,
  budget: shared.budget,
  timeouts: settings,
  idleTimeoutMs: settings.wsIdleTimeoutMs,
  now: shared.now,
  wallMs: shared.wallMs,
  providerFailed: shared.providerFailed,
})
