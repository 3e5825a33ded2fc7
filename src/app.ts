import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { clientAuth } from './auth/client.ts'
import { scraperCheck } from './auth/scraper.ts'
import type { Catalog } from './config/catalog/catalog.ts'
import { readFileLimit } from './config/env/open-files.ts'
import type { Settings } from './config/env/settings.ts'
import { ENDPOINTS } from './dialects/endpoints.ts'
import { type DrainLimits, drainApp } from './drain.ts'
import { constrainGets, drain, guard, requestId } from './entrance/arrival.ts'
import { isAllowedOrigin, routeCors } from './entrance/cors.ts'
import { crowd } from './entrance/crowd.ts'
import { errorReply } from './entrance/error-reply.ts'
import { health } from './entrance/health.ts'
import type { Shared } from './exchange/paid-call.ts'
import { paidRoutes } from './exchange/serve.ts'
import { openServer } from './http-server.ts'
import { accountRoute } from './limits/account.ts'
import { addressLimit } from './limits/address.ts'
import { openCounting } from './limits/counting.ts'
import { modelRoutes } from './limits/models.ts'
import { inFlightLimit, rateLimit } from './limits/requests.ts'
import { responsesRoute } from './realtime/responses-route.ts'
import { realtimeRoute } from './realtime/route.ts'
import { type PassthroughOptions, passthrough, planPassthrough } from './services/passthrough.ts'
import { serviceKind, serviceLookup } from './services/websocket-lookup.ts'
import { serviceSockets } from './services/websocket-services.ts'
import { openGauges, openShared, openSocketsShared, watchTokens } from './shared.ts'
import type { IdempotencyStore } from './stores/contracts/idempotency.ts'
import type { DayCounts, OwnCounts, SharedCounts } from './stores/contracts/places.ts'
import type { TokenStore } from './stores/contracts/token-store.ts'
import { createMetrics, type Gauges, type Metrics } from './telemetry/metrics.ts'
import { metricsRoute } from './telemetry/metrics-route.ts'
import { requestLine } from './telemetry/request-line.ts'
import { handshakeCheck, upgrade } from './websocket/upgrade.ts'

export interface AppNeeds {
  settings: Settings
  tokens: TokenStore
  idempotency: IdempotencyStore
  /** Limits that replicas share; undefined: there are none. */
  counts?: SharedCounts | undefined
  /** Told how this app counts requests by itself. */
  onCounts?: ((own: OwnCounts) => void) | undefined
  /** Where a process that is alone keeps what it counts in a day. */
  days?(): DayCounts | undefined
  /** The memory of Redis, where there is one. */
  redisMemory?: Gauges['redisMemory']
  catalog(): Catalog
  /** A provider refused our key: there may be another one in its file. */
  keyRefused?: Shared['keyRefused'] | undefined
  logger: FastifyBaseLogger
}

/** The HTTP service: built here, listening and draining by order of `process.ts`. */
export interface Gateway {
  app: FastifyInstance
  /** Says on `/ready` that it leaves and serves on for `delayMs`; then refuses new work, waits `graceMs` for what runs, cuts the rest and waits `settleMs` for its bills. */
  drain(limits: DrainLimits): Promise<void>
  /** How many paid requests run. */
  running(): number
  /** Our key at this provider is another one: it rests no longer for the old one. */
  keyChanged(provider: string): void
}

/** What all doors share, opened here and closed with the app. */
export async function buildApp(needs: AppNeeds): Promise<Gateway> {
  const { settings, catalog, logger } = needs
  const app = openServer(settings, logger, catalog)
  const metrics = createMetrics(catalog)
  const shared = openShared(needs, metrics)
  const websocket = openSocketsShared(settings, shared)
  app.addHook('onClose', () => websocket.sockets.close())
  app.addHook('onClose', () => shared.upstreams.close())
  const endWatch = watchTokens(shared)
  app.addHook('onClose', () => endWatch())
  const gauges = openGauges(app, shared, needs)
  await hangDoors(app, needs, { metrics, shared, websocket, gauges })
  return {
    app,
    running: gauges.running,
    drain: (limits) => drainApp(app, shared.live, limits),
    keyChanged: (provider) => shared.health.keyChanged(provider, shared.now()),
  }
}

interface Opened {
  metrics: Metrics
  shared: Shared
  websocket: ReturnType<typeof openSocketsShared>
  gauges: Gauges
}

/** What is handed on to services, and how. */
function planServices(
  settings: Settings,
  catalog: () => Catalog,
  { deadlines, upstreamHeaders }: Shared,
): PassthroughOptions {
  const routes = planPassthrough(settings, catalog)
  return { deadlines, upstreamHeaders, routes, timeouts: settings, proxyFor: settings.proxyFor }
}

/** The map: what happens to a request, in this order. */
async function hangDoors(
  app: FastifyInstance,
  { settings, tokens, counts, onCounts, days, catalog }: AppNeeds,
  { metrics, shared, websocket, gauges }: Opened,
): Promise<void> {
  const { requestsPerMinute, requestsPerDay, ipv6PrefixBits } = settings
  const counting = openCounting({ counts, onCounts, days })
  app.addHook('onClose', async () => counting.keep())
  const rates = { perMinute: requestsPerMinute, perDay: requestsPerDay, counting }
  const { hold } = shared

  await app.register(errorReply)
  await app.register(requestId)
  await app.register(requestLine, { count: metrics.count }) // one log line each, when it is over
  await app.register(drain) // not while the gateway goes down
  await app.register(crowd, { mostFiles: readFileLimit() }) // not with the last descriptors
  const isAllowed = (origin: string): boolean => isAllowedOrigin(origin, settings.corsAllowlist)
  app.decorateRequest('service')
  const ofGets = [serviceLookup(catalog), handshakeCheck(isAllowed)]
  await app.register(guard, { ofGets }) // not what no client sends
  await app.register(routeCors, { allowlist: settings.corsAllowlist })
  await app.register(upgrade) // owns every WebSocket handshake
  app.addConstraintStrategy(constrainGets('service', serviceKind(catalog)))
  await app.register(health, { ...gauges, handedOn: settings.passthrough })

  const withoutToken = await addressLimit(app, settings) // not too often from one address
  await app.register(async (open) => {
    open.addHook('onRequest', withoutToken)
    await open.register(serviceSockets, { entry: 'open', shared: websocket, ipv6PrefixBits })
  })
  await app.register(async (watched) => {
    const isScraper = scraperCheck(settings.readKey) // Prometheus, while no store answers as well
    await watched.register(clientAuth, { tokens, onRefused: withoutToken, isKnown: isScraper })
    await watched.register(metricsRoute, { metrics, gauges })
  })
  await app.register(async (known) => {
    await known.register(clientAuth, { tokens, onRefused: withoutToken }) // who is asking
    await known.register(rateLimit, rates) // not too often
    await known.register(inFlightLimit, { tokens }) // not too many at once
    await known.register(passthrough, planServices(settings, catalog, shared))
    await known.register(serviceSockets, { entry: 'token', shared: websocket, ipv6PrefixBits })
    await known.register(
      async (v1) => {
        await v1.register(accountRoute, { tokens, requestsPerMinute, requestsPerDay })
        await v1.register(modelRoutes, { catalog })
        await v1.register(realtimeRoute, { catalog, tokens, hold, shared: websocket })
        await v1.register(responsesRoute, { catalog, tokens, hold, shared: websocket })
        await v1.register(paidRoutes, { endpoints: ENDPOINTS, shared })
      },
      { prefix: '/v1' },
    )
  })
}
