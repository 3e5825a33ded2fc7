import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { isStillUsable } from './auth/client.ts'
import { createJwtCheck, type JwtCheck } from './auth/jwt.ts'
import { holdCredits, refuseUncovered } from './billing/hold.ts'
import type { Settings } from './config/env/settings.ts'
import { Deadlines } from './deadlines.ts'
import { createUpstreamHeaders } from './dialects/headers.ts'
import { streamErrorEvent, writeErrorBody } from './entrance/error-reply.ts'
import type { Shared } from './exchange/paid-call.ts'
import { createLive, watchSecrets } from './live.ts'
import type { RealtimeShared } from './realtime/session.ts'
import { SharedBytes } from './request/shared-bytes.ts'
import { openSpoolRoom } from './request/spool.ts'
import { ProviderAddresses } from './routing/addresses.ts'
import { ProviderHealth } from './routing/health.ts'
import type { ForwardShared } from './services/forward.ts'
import { openTraceIds } from './services/heads/trace.ts'
import { addressOf } from './services/targets/sticky.ts'
import { openTargets, type Targets } from './services/targets/targets.ts'
import type { Gauges, Metrics } from './telemetry/metrics.ts'
import { readSizes } from './telemetry/size-gauges.ts'
import { createTurns } from './turns.ts'
import { get } from './upstream/get.ts'
import { openUpstreams } from './upstream/upstreams.ts'
import type { DialRules } from './upstream/websocket-dial.ts'
import { OpenSockets } from './websocket/open-sockets.ts'

/** What a page that says how a service is may hold. */
const CHECK_BYTES = 1024 * 1024

interface Needs extends Pick<Shared, 'catalog' | 'tokens' | 'idempotency'> {
  settings: Settings
  keyRefused?: Shared['keyRefused'] | undefined
}

/** What all paid requests of this app share; `app.ts` closes it. */
export function openShared(
  { settings, catalog, tokens, idempotency, keyRefused = () => undefined }: Needs,
  { providerFailed }: Metrics,
): Shared {
  const deadlines = new Deadlines()
  return {
    catalog,
    tokens,
    idempotency,
    hold: holdCredits,
    refuseUncovered,
    errors: { body: writeErrorBody, event: streamErrorEvent },
    upstreams: openUpstreams(settings, deadlines),
    upstreamHeaders: createUpstreamHeaders(settings.forwardHeaders),
    deadlines,
    live: createLive(),
    timeouts: settings,
    heartbeatMs: /off/i.test(settings.sseHeartbeat) ? 0 : Number(settings.sseHeartbeat),
    // Nobody gets more than half of all: a body beyond that would wait for room that never comes.
    maxJsonBytes: Math.min(settings.maxJsonBytes, Math.floor(settings.bodyMemoryBytes / 2)),
    bodyTimeoutMs: settings.bodyTimeoutMs,
    memory: new SharedBytes(settings.bodyMemoryBytes),
    spool: openSpoolRoom(settings.spoolBytes),
    health: new ProviderHealth(),
    missingModels: new ProviderHealth(),
    addresses: new ProviderAddresses(),
    now: performance.now.bind(performance),
    wallMs: Date.now,
    turns: createTurns(),
    providerFailed,
    keyRefused,
  }
}

/** No model thinks before a handshake is answered; a route of a service may say otherwise. */
const HANDSHAKE_TIMEOUT_MS = 60_000

interface SocketsShared extends RealtimeShared {
  /** How services are dialed. */
  serviceWayOut: DialRules
}

/** What all WebSockets of this app share: also what HTTP requests learn about providers. `app.ts` closes it. */
export function openSocketsShared(settings: Settings, shared: Shared): SocketsShared {
  const { tokens, live, upstreamHeaders, health, missingModels, now, wallMs, providerFailed } = shared
  const { memory, turns, keyRefused, addresses } = shared
  const sockets = new OpenSockets({
    perHolder: settings.wsSocketsPerToken,
    isUsable: (secretHash) => isStillUsable(tokens, secretHash, wallMs()),
  })
  const idleTimeoutMs = settings.wsIdleTimeoutMs
  const { connectTimeoutMs, proxyFor, serviceProxyFor } = settings
  const firstByteTimeoutMs = Math.min(settings.firstByteTimeoutMs, HANDSHAKE_TIMEOUT_MS)
  const providers = { health, missingModels, providerFailed, keyRefused, addresses }
  return {
    sockets,
    live,
    upstreamHeaders,
    ...providers,
    memory,
    turns,
    wayOut: { connectTimeoutMs, firstByteTimeoutMs, proxyFor },
    serviceWayOut: { connectTimeoutMs, firstByteTimeoutMs, proxyFor: serviceProxyFor },
    idleTimeoutMs,
    now,
    wallMs,
  }
}

/** What is known of the services' targets; `app.ts` closes it. */
export function openServiceTargets(
  settings: Settings,
  { catalog, upstreams, now }: Shared,
  { serviceFailed, serviceAnswered }: Metrics,
): Targets {
  return openTargets({
    table: () => catalog().services,
    now,
    random: Math.random,
    secret: settings.internalKey,
    onFailure: serviceFailed,
    onAnswer: serviceAnswered,
    get: async ({ url, timeoutMs }) => {
      const { status } = await get(upstreams, url, { timeoutMs, maxBytes: CHECK_BYTES })
      return status
    },
  })
}

/** Documents of others, such as the keys that JWTs are signed with. */
const MOST_DOCUMENT_BYTES = 512 * 1024
const DOCUMENT_TIMEOUT_MS = 5_000
const OK = 200

/** What all requests to services of this app share; it is closed with the app. */
export interface ServicesShared {
  forwarding: ForwardShared
  jwt: JwtCheck
}

/** How this gateway is named in `Via`: nobody else can know it, so whoever names it was here. */
function makePseudonym(): string {
  return `gw-${randomBytes(8).toString('hex')}`
}

export function openServicesShared(
  app: FastifyInstance,
  settings: Settings,
  { shared, targets }: { shared: Shared; targets: Targets },
): ServicesShared {
  const forwarding: ForwardShared = {
    ...shared,
    targets,
    timeouts: { ...shared.timeouts, bodyTimeoutMs: settings.bodyTimeoutMs },
    internalKey: settings.internalKey,
    pseudonym: makePseudonym(),
    makeTraceparent: openTraceIds(),
  }
  return { forwarding, jwt: openJwtCheck(app, settings, shared.upstreams) }
}

function openJwtCheck(app: FastifyInstance, settings: Settings, upstreams: Shared['upstreams']): JwtCheck {
  return createJwtCheck({
    rules: settings.jwt,
    fetchText: async (url) => {
      const rules = { timeoutMs: DOCUMENT_TIMEOUT_MS, maxBytes: MOST_DOCUMENT_BYTES }
      const { status, body } = await get(upstreams, new URL(url), rules)
      if (status !== OK) throw new Error(`the server of the keys answered ${status}`)
      return body.toString()
    },
    report: (problem) => {
      if (problem) app.log.error({ err: problem }, 'keys of JWTs cannot be read')
      else app.log.info('keys of JWTs can be read again')
    },
  })
}

/** Ends the streams of tokens that are revoked or expire; the caller ends it by what is returned. */
export function watchTokens({ tokens, live, wallMs }: Shared): () => void {
  return watchSecrets(live, (secretHash) => isStillUsable(tokens, secretHash, wallMs()))
}

interface GaugeNeeds {
  settings: Settings
  redisMemory?: Gauges['redisMemory']
  targets: Pick<Targets, 'report'>
}

/** What is so at this moment. */
export function openGauges(
  app: FastifyInstance,
  { catalog, tokens, live, memory, spool, health, now }: Shared,
  { settings, redisMemory, targets }: GaugeNeeds,
): Gauges {
  return {
    isReady: () => tokens.isReady() && !app.drain.isLeaving,
    running: () => live.size,
    bodyBytes: () => memory.usedBytes,
    spoolBytes: () => spool.usedBytes,
    redisMemory,
    resting: () => {
      const none = Array.from(catalog().providers.keys(), (name) => [name, 0] as const)
      return new Map([...none, ...health.resting(now())])
    },
    services: () =>
      targets.report().map(([{ name }, all]) => ({
        route: name,
        targets: all.map(({ place, state, inFlight }) => ({
          target: addressOf(place),
          isUp: state === 'up',
          inFlight,
        })),
      })),
    sizes: () => readSizes(settings, tokens.sizes),
  }
}
