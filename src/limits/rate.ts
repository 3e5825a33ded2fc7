import type { CreateRateLimitOptions, FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type GatewayError, rateLimited } from '../errors.ts'
import type { SharedCounts } from '../stores/shared-counts.ts'
import type { Token } from '../stores/token-store.ts'
import { writeDuration } from './reset-text.ts'
import { sharedWindows } from './shared-windows.ts'
import { registerWindows } from './windows.ts'

/** The limit of a token that is nearest to its end. */
export interface RateState {
  limit: number
  remaining: number
  resetMs: number
}

declare module 'fastify' {
  interface FastifyRequest {
    rate: RateState | undefined
  }
}

export interface RateOptions {
  /** For tokens without a limit of their own; undefined: no limit. */
  perMinute?: number | undefined
  perDay?: number | undefined
  now?: () => number
  /** Set: all replicas count together, by the clock of their store. */
  counts?: SharedCounts | undefined
}

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

interface Count extends RateState {
  isExceeded: boolean
}

interface Window {
  timeWindow: number
  keyOf(tokenId: string): string
  maxOf(token: Token): number | undefined
  /** Until the window ends, told the package's own answer. */
  resetMs(ttlMs: number): number
  store: FastifyRateLimitStoreCtor | undefined
}

type Counting = ReturnType<ReturnType<FastifyInstance['createRateLimit']>>

/** One window of all tokens. */
interface Check {
  /** Counts a request; undefined: the token has no such limit. */
  count(request: FastifyRequest): Counting | undefined
  /** Where the token stands. */
  read(state: Awaited<Counting> | undefined): Count | undefined
}

const openCheck = (app: FastifyInstance, { timeWindow, keyOf, maxOf, resetMs, store }: Window): Check => {
  const options: CreateRateLimitOptions = {
    ...(store ? { store } : {}),
    timeWindow,
    max: ({ token }) => maxOf(token) ?? 0,
    keyGenerator: ({ token }) => keyOf(token.id),
  }
  const count = app.createRateLimit(options)
  return {
    count: (request) => (maxOf(request.token) === undefined ? undefined : count(request)),
    read(state) {
      if (!state || state.isAllowed) return undefined
      const { max, remaining, ttl, isExceeded } = state
      return { limit: max, remaining, resetMs: resetMs(ttl), isExceeded }
    },
  }
}

type MaxOf = Window['maxOf']

const openMinute = (
  app: FastifyInstance,
  maxOf: MaxOf,
  store: FastifyRateLimitStoreCtor | undefined,
): Check =>
  openCheck(app, {
    timeWindow: MINUTE_MS,
    keyOf: (id) => (store ? id : `min:${id}`),
    maxOf,
    resetMs: (ttlMs) => ttlMs,
    store,
  })

/** The date stands in the key: a window of the package would end a day after its first request, not at midnight. */
const openDay = (app: FastifyInstance, maxOf: MaxOf, now: () => number): Check =>
  openCheck(app, {
    timeWindow: DAY_MS,
    keyOf: (id) => `day:${Math.floor(now() / DAY_MS)}:${id}`,
    maxOf,
    resetMs: () => DAY_MS - (now() % DAY_MS),
    store: undefined,
  })

/** The store knows when its day ends. */
const openSharedDay = (app: FastifyInstance, maxOf: MaxOf, store: FastifyRateLimitStoreCtor): Check =>
  openCheck(app, { timeWindow: DAY_MS, keyOf: (id) => id, maxOf, resetMs: (ttlMs) => ttlMs, store })

const setHeaders = (reply: FastifyReply, { limit, remaining, resetMs }: RateState): void => {
  reply.header('x-ratelimit-limit-requests', limit)
  reply.header('x-ratelimit-remaining-requests', remaining)
  reply.header('x-ratelimit-reset-requests', writeDuration(resetMs))
}

const buildRefusal = ({ limit, resetMs }: Count, window: string): GatewayError =>
  rateLimited(`This token may send ${limit} requests a ${window}. Wait as long as "Retry-After" says.`, {
    retryAfterMs: Math.max(1, resetMs),
  })

/** May they, now: so many requests per token in a minute and in a day (UTC). After `client-auth`. */
export const rateLimit = fp<RateOptions>(
  async (app, { perMinute, perDay, now = Date.now, counts }) => {
    await registerWindows(app, now)
    const store = counts && sharedWindows(counts)
    const dayOf = (token: Token) => token.requestsPerDay ?? perDay
    const minutes = openMinute(app, (token) => token.requestsPerMinute ?? perMinute, store)
    const days = store ? openSharedDay(app, dayOf, store) : openDay(app, dayOf, now)
    app.decorateRequest('rate')
    app.addHook('onRequest', async (request, reply) => {
      const minute = minutes.read(await minutes.count(request))
      // What the minute refuses does not use up the day; most tokens have none.
      const counting = minute?.isExceeded ? undefined : days.count(request)
      const day = counting && days.read(await counting)
      const nearest = day && (!minute || day.remaining <= minute.remaining) ? day : minute
      request.rate = nearest
      if (!nearest) return
      setHeaders(reply, nearest)
      if (nearest.isExceeded) throw buildRefusal(nearest, nearest === day ? 'day' : 'minute')
    })
  },
  { name: 'rate-limit', dependencies: ['client-auth'] },
)
