import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import { clientAuth } from './auth/client.ts'
import { scraperCheck } from './auth/scraper.ts'
import { serviceAuth } from './auth/service-auth.ts'
import type { Catalog } from './config/catalog/catalog.ts'
import type { Entry, FoundRoute } from './config/catalog/service-routes.ts'
import { readFileLimit } from './config/env/open-files.ts'
import type { Settings } from './config/env/settings.ts'
import { ENDPOINTS } from './dialects/endpoints.ts'
import { type DrainLimits, drainApp } from './drain.ts'
import { constrain, drain, guard, requestId } from './entrance/arrival.ts'
import { originCheck, routeCors, servicePreflightCheck } from './entrance/cors.ts'
import { crowd } from './entrance/crowd.ts'
import { errorReply } from './entrance/error-reply.ts'
import { health } from './entrance/health.ts'
import type { Shared } from './exchange/paid-call.ts'
import { paidRoutes } from './exchange/serve.ts'
import { openServer } from './http-server.ts'
import { accountRoute } from './limits/account.ts'
import { addressLimit } from './limits/address.ts'
import { type Counting, openCounting } from './limits/counting.ts'
import { modelRoutes } from './limits/models.ts'
import { inFlightLimit, type RateOptions, rateLimit } from './limits/requests.ts'
import { routeLimits } from './limits/route-limits.ts'
import { responsesRoute } from './realtime/responses-route.ts'
import { realtimeRoute } from './realtime/route.ts'
import { httpRoutes, takeAllMethods } from './services/http-routes.ts'
import { serviceDoor, serviceLookup } from './services/paths/route-lookup.ts'
import { serviceHealth } from './services/targets/service-health.ts'
import type { Targets } from './services/targets/targets.ts'
import { openServiceRows } from './services/usage-rows.ts'
import { serviceSockets } from './services/websocket-services.ts'
import {
  openGauges,
  openServicesShared,
  openServiceTargets,
  openShared,
  openSocketsShared,
  type ServicesShared,
  watchTokens,
} from './shared.ts'
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
  /** How many paid requests, requests of services and sockets run. */
  running(): number
  /** Our key at this provider is another one: it rests no longer for the old one. */
  keyChanged(provider: string): void
  /** The catalog is another one: what does not wait for a request looks at it now. */
  catalogChanged(): void
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
  const targets = openServiceTargets(settings, shared, metrics)
  app.addHook('onClose', async () => targets.close())
  const services = openServicesShared(app, settings, { shared, targets })
  const gauges = openGauges(app, shared, { ...needs, targets })
  await hangDoors(app, needs, { metrics, shared, websocket, services, targets, gauges })
  return {
    app,
    running: gauges.running,
    drain: (limits) => drainApp(app, shared.live, limits),
    keyChanged: (provider) => shared.health.keyChanged(provider, shared.now()),
    catalogChanged: () => targets.look(),
  }
}

interface Opened {
  metrics: Metrics
  shared: Shared
  websocket: ReturnType<typeof openSocketsShared>
  services: ServicesShared
  gauges: Gauges
  targets: Targets
}

/** The map: what happens to a request, in this order. */
async function hangDoors(app: FastifyInstance, needs: AppNeeds, opened: Opened): Promise<void> {
  const { settings, tokens, catalog } = needs
  const { metrics, shared, websocket, targets, gauges } = opened
  const { requestsPerMinute, requestsPerDay } = settings
  const counting = openCounting(needs)
  app.addHook('onClose', async () => counting.keep())
  const rates = { perMinute: requestsPerMinute, perDay: requestsPerDay, counting }
  const { hold } = shared

  await hangEntrance(app, needs, opened)
  const withoutToken = await addressLimit(app, settings) // not too often from one address
  await app.register(async (watched) => {
    const isScraper = scraperCheck(settings.readKey) // Prometheus, while no store answers as well
    await watched.register(clientAuth, { tokens, onRefused: withoutToken, isKnown: isScraper })
    await watched.register(metricsRoute, { metrics, gauges })
  })
  await app.register(async (admins) => {
    await admins.register(clientAuth, { tokens, onRefused: withoutToken })
    await admins.register(serviceHealth, { targets, now: shared.now, wallMs: shared.wallMs })
  })
  await app.register(async (known) => {
    await known.register(clientAuth, { tokens, onRefused: withoutToken }) // who is asking
    await known.register(rateLimit, rates) // not too often
    await known.register(inFlightLimit, { tokens }) // not too many at once
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
  await hangServices(app, needs, { ...opened, rates, withoutToken })
}

/** Any request, before we know whose it is. */
async function hangEntrance(
  app: FastifyInstance,
  { settings: { corsAllowlist }, tokens, catalog }: AppNeeds,
  { metrics, services, gauges }: Opened,
): Promise<void> {
  const { pseudonym } = services.forwarding
  const noteService = openServiceRows({ rows: tokens, serviceOf })
  const lookup = { catalog, isServicesPreflight: servicePreflightCheck(corsAllowlist) }
  const ofGets = handshakeCheck(originCheck(corsAllowlist))
  app.decorateRequest('service')
  await app.register(errorReply)
  await app.register(requestId)
  await app.register(requestLine, { count: metrics.count, noteService }) // one log line each, when it is over
  await app.register(drain) // not while the gateway goes down
  await app.register(crowd, { mostFiles: readFileLimit() }) // not with the last descriptors
  await app.register(guard, { ofServices: serviceLookup(lookup), ofGets, pseudonym }) // not what no client sends
  if (corsAllowlist.length > 0) await app.register(routeCors, { allowlist: corsAllowlist })
  await app.register(upgrade) // owns every WebSocket handshake
  app.addConstraintStrategy(constrain('service', serviceDoor(lookup)))
  await app.register(health, gauges)
}

interface Doors extends Opened {
  rates: RateOptions & { counting: Counting }
  withoutToken(request: FastifyRequest): Promise<void>
}

/** One door for each answer to "who may enter?"; which of them a path has the table says at this moment. */
async function hangServices(
  app: FastifyInstance,
  { settings, tokens }: AppNeeds,
  { services, websocket, rates, withoutToken }: Doors,
): Promise<void> {
  const { services: rows, modelsFile, ipv6PrefixBits, serviceRequestsPerMinute, corsAllowlist } = settings
  if (rows.length === 0 && modelsFile === undefined) return
  const { forwarding: shared, jwt } = services
  const { counting } = rates
  const routeLimit = routeLimits(app, {
    ...{ counting, ipv6PrefixBits, serviceOf },
    perMinute: serviceRequestsPerMinute,
  })
  const sockets = {
    shared: { ...websocket, wayOut: websocket.serviceWayOut, targets: shared.targets },
    ipv6PrefixBits,
    facts: shared,
  }
  takeAllMethods(app)
  for (const entry of ENTRIES)
    await app.register(async (door) => {
      if (corsAllowlist.length === 0) await door.register(routeCors, { allowlist: [] }) // a route's own rules alone
      await door.register(serviceAuth, { entry, tokens, jwt, serviceOf, onRefused: withoutToken }) // who is asking
      await door.register(rateLimit, { ...rates, header: 'plain' }) // not too often, wherever
      await door.register(inFlightLimit, { tokens }) // not too many at once
      door.addHook('onRequest', routeLimit) // not too often here
      await door.register(httpRoutes, { entry, shared })
      await door.register(async (ofSockets) => {
        if (entry === 'open') ofSockets.addHook('onRequest', withoutToken)
        await ofSockets.register(serviceSockets, { entry, ...sockets })
      })
    })
}

const ENTRIES: readonly Entry[] = ['open', 'token', 'jwt', 'any']

function serviceOf({ service }: FastifyRequest): FoundRoute | undefined {
  return service
}
