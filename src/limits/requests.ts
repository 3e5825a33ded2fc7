import type { CreateRateLimitOptions, FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type GatewayError, rateLimited } from '../errors.ts'
import type { Places } from '../stores/contracts/places.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import type { Counting } from './counting.ts'
import { DAY_MS, MINUTE_MS, registerWindows, Windows } from './windows.ts'

/** The limit that is nearest to its end. */
export interface RateState {
  limit: number
  remaining: number
  resetMs: number
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered from memory: not counted among the requests that run. */
    isQuick?: boolean
    /** Free, and asked by agents two dozen times at once: not counted among the requests a minute or a day. */
    isUncounted?: boolean
  }
  interface FastifyInstance {
    /** Counts what a socket carries as one more request of its token. Throws `rate_limit_exceeded`. */
    countRequest(request: FastifyRequest): Promise<void>
  }
  interface FastifyRequest {
    rate: RateState | undefined
  }
}

export interface RateOptions {
  /** The limit of tokens without one of their own; undefined: there is none. */
  perMinute?: number | undefined
  perDay?: number | undefined
  /** Shared by all scopes that count requests of the same tokens. */
  counting: Counting
  /** On routes of services; see `setRateHeaders`. */
  header?: RateHeader | undefined
}

/** `openai`: `x-ratelimit-limit-requests` and its sisters; `plain`: `x-ratelimit-limit` and its sisters as well. */
export type RateHeader = 'openai' | 'plain'

/** A token may ask for so much that is not counted, a minute: the provider has to answer it all the same. */
const LEAST_UNCOUNTED = 1_000
const UNCOUNTED_FACTOR = 10
const SECOND_MS = 1_000
const HOUR_MS = 60 * MINUTE_MS

/** Where a window stands after one more request. */
export interface Count extends RateState {
  isExceeded: boolean
  window: 'minute' | 'day'
}

interface Window {
  timeWindow: number
  maxOf(token: Token): number | undefined
  store: FastifyRateLimitStoreCtor
}

type Counted = ReturnType<ReturnType<FastifyInstance['createRateLimit']>>

/** One window of all tokens. */
interface Check {
  /** Counts a request; undefined: the token has no such limit. */
  count(request: FastifyRequest): Counted | undefined
  /** Where the token stands. */
  read(state: Awaited<Counted> | undefined): Count | undefined
}

function openCheck(app: FastifyInstance, { timeWindow, maxOf, store }: Window): Check {
  const options: CreateRateLimitOptions = {
    store,
    timeWindow,
    max: ({ token }) => maxOf(token) ?? 0,
    keyGenerator: ({ token }) => token.id,
  }
  const count = app.createRateLimit(options)
  return {
    count: (request) => (maxOf(request.token) === undefined ? undefined : count(request)),
    read(state) {
      if (!state || state.isAllowed) return undefined
      const { max, remaining, ttl, isExceeded } = state
      const window = timeWindow === DAY_MS ? 'day' : 'minute'
      return { limit: max, remaining, resetMs: ttl, isExceeded, window }
    },
  }
}

/** A duration as OpenAI's clients read it in `x-ratelimit-reset-requests`: `12ms`, `59.2s`, `6m0s`, `3h0m5s`. */
export function writeDuration(ms: number): string {
  if (ms <= SECOND_MS - 1) return `${Math.max(0, Math.ceil(ms))}ms`
  const whole = Math.ceil(ms / 100) * 100
  if (whole < MINUTE_MS) return `${whole / SECOND_MS}s`
  const hours = Math.floor(whole / HOUR_MS)
  const minutes = Math.floor((whole % HOUR_MS) / MINUTE_MS)
  const seconds = Math.floor((whole % MINUTE_MS) / SECOND_MS)
  return hours > 0 ? `${hours}h${minutes}m${seconds}s` : `${minutes}m${seconds}s`
}

/** What OpenAI's clients read; plain HTTP clients look for the names without an ending, and for whole seconds. */
export function setRateHeaders(reply: FastifyReply, state: RateState, header: RateHeader): void {
  const { limit, remaining, resetMs } = state
  reply.header('x-ratelimit-limit-requests', limit)
  reply.header('x-ratelimit-remaining-requests', remaining)
  reply.header('x-ratelimit-reset-requests', writeDuration(resetMs))
  if (header === 'openai') return
  reply.header('x-ratelimit-limit', limit)
  reply.header('x-ratelimit-remaining', remaining)
  reply.header('x-ratelimit-reset', Math.max(0, Math.ceil(resetMs / SECOND_MS)))
}

function buildRefusal({ limit, resetMs, window }: Omit<Count, 'remaining' | 'isExceeded'>): GatewayError {
  return rateLimited(
    `This token may send ${limit} requests a ${window}. Wait as long as "Retry-After" says.`,
    {
      retryAfterMs: Math.max(1, resetMs),
    },
  )
}

function checkUncounted(windows: Windows, tokenId: string, perMinute: number): void {
  const limit = Math.max(LEAST_UNCOUNTED, perMinute * UNCOUNTED_FACTOR)
  const { current, ttl: resetMs } = windows.count(tokenId, MINUTE_MS)
  if (current > limit) throw buildRefusal({ limit, resetMs, window: 'minute' })
}

/** May they, now: so many requests per token in a minute and in a day (UTC). After `client-auth`. */
export const rateLimit = fp<RateOptions>(
  async (app, { perMinute, perDay, header = 'openai', counting }) => {
    await registerWindows(app)
    const { store } = counting
    const minutes = openCheck(app, {
      timeWindow: MINUTE_MS,
      maxOf: (token) => token.requestsPerMinute ?? perMinute,
      store,
    })
    const days = openCheck(app, {
      timeWindow: DAY_MS,
      maxOf: (token) => token.requestsPerDay ?? perDay,
      store,
    })
    /** Counts a request in both windows: the one that is nearest to its end. */
    const count = async (request: FastifyRequest): Promise<Count | undefined> => {
      const minute = minutes.read(await minutes.count(request))
      // What the minute refuses does not use up the day; most tokens have none.
      const counting = minute?.isExceeded ? undefined : days.count(request)
      const day = counting && days.read(await counting)
      return day && (!minute || day.remaining <= minute.remaining) ? day : minute
    }
    app.decorate('countRequest', async (request) => {
      const nearest = await count(request)
      if (nearest?.isExceeded) throw buildRefusal(nearest)
    })
    if (!app.hasRequestDecorator('rate')) app.decorateRequest('rate')
    const uncounted = new Windows()
    app.addHook('onRequest', async (request, reply) => {
      // A person has none.
      const token: Token | undefined = request.token
      if (token === undefined) return
      if (request.routeOptions.config.isUncounted) {
        const most = token.requestsPerMinute ?? perMinute
        return most === undefined ? undefined : checkUncounted(uncounted, token.id, most)
      }
      const nearest = await count(request)
      request.rate = nearest
      if (!nearest) return
      setRateHeaders(reply, nearest, header)
      if (nearest.isExceeded) throw buildRefusal(nearest)
    })
  },
  { name: 'rate-limit', dependencies: ['client-auth'] },
)

export interface InFlightOptions {
  tokens: Places
}

/** No more requests of a token at once than it may have. From its credential to the end of its answer, whichever end. */
export const inFlightLimit = fp<InFlightOptions>(
  async (app, { tokens }) => {
    app.addHook('onRequest', (request, reply, done) => {
      // A person has none.
      const token: Token | undefined = request.token
      const most = token?.requestsInFlight
      if (token === undefined || most === undefined || request.routeOptions.config.isQuick) return done()
      const { id } = token
      const take = async (): Promise<void> => {
        const place = await tokens.enter(id, most)
        if (place === undefined)
          throw rateLimited(
            `This token may have ${most} requests running at once. Wait until one of them ends.`,
          )
        leaveAtEnd(request, reply, () => tokens.leave(place))
      }
      take().then(() => done(), done)
    })
  },
  { name: 'in-flight-limit', dependencies: ['client-auth'] },
)

/** An answer ends with its response; an upgraded connection has none that closes, and ends with its socket. */
export function leaveAtEnd({ raw, ws }: FastifyRequest, reply: FastifyReply, leave: () => void): void {
  const { socket } = raw
  const end = (): void => {
    reply.raw.off('close', end).off('finish', end)
    socket.off('close', end)
    leave()
  }
  if (reply.raw.destroyed || socket.destroyed) return leave()
  // The header alone says nothing: HTTP with an `Upgrade` that nobody grants stays HTTP.
  if (!ws) reply.raw.once('close', end)
  // A handshake that is refused.
  else reply.raw.once('finish', end)
  socket.once('close', end)
}
