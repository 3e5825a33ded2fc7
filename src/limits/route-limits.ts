import { createHash } from 'node:crypto'
import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { FoundRoute, ServiceRoute } from '../config/catalog/service-routes.ts'
import { type GatewayError, rateLimited } from '../errors.ts'
import { ROUTE_KEY } from '../stores/contracts/places.ts'
import type { Counting } from './counting.ts'
import { type Count, leaveAtEnd, setRateHeaders } from './requests.ts'
import { DAY_MS, MINUTE_MS, type WindowCount } from './windows.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** All limits of a service's route let it in: only such a request leaves a usage row. */
    isAdmitted: boolean
  }
}

export interface RouteLimitOptions {
  counting: Counting
  /** Of callers without a token, on routes without a limit of their own; undefined: there is none. */
  perMinute: number | undefined
  /** IPv6 clients whom nobody asked who they are count together by so many first bits. */
  ipv6PrefixBits: number
  serviceOf(request: FastifyRequest): FoundRoute | undefined
}

type Limit = (request: FastifyRequest, reply: FastifyReply, done: (refusal?: Error) => void) => void

/**
 * May this caller ask this route, now: so many requests a minute and a day (UTC) of each caller, and so many at once of
 * all callers together. A handshake is one request, a browser's question in advance (preflight) none: those that reach a
 * service have a wider limit of their own. What comes back is
 * the hook for each scope of routes, after that of auth and of the token's own limits: all count in the same windows.
 *
 * What runs at once is counted by each process for itself: it protects a service, costs no round trip, and no crash
 * leaves places that nobody has.
 */
export function routeLimits(app: FastifyInstance, options: RouteLimitOptions): Limit {
  const { counting, serviceOf } = options
  app.decorateRequest('isAdmitted', false)
  const running = new Running()
  return (request, reply, done) => {
    const route = serviceOf(request)?.route
    if (route === undefined) return admit(request, done)
    const isQuestion = isPreflight(request)
    const finish = (own: Count | undefined): void => {
      if (!isQuestion || own?.isExceeded) tellNearest(request, reply, own)
      if (own?.isExceeded) return done(tooMany(own))
      if (!running.enter(route, request, reply)) return done(tooManyAtOnce(route))
      admit(request, done)
    }
    const limits = isQuestion ? ofPreflights(route, options) : limitsOf(route, request, options)
    if (limits === undefined) return finish(undefined)
    const key = keyOf(route, request, options)
    const counted = countRoute(counting, isQuestion ? `${ROUTE_KEY}preflight ${key}` : key, limits)
    if (counted instanceof Promise) counted.then(finish, done)
    else finish(counted)
  }
}

function admit(request: FastifyRequest, done: () => void): void {
  request.isAdmitted = true
  done()
}

function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
}

interface Limits {
  perMinute: number | undefined
  perDay: number | undefined
}

function limitsOf(
  { limits }: ServiceRoute,
  { caller }: FastifyRequest,
  options: Pick<RouteLimitOptions, 'perMinute'>,
): Limits | undefined {
  // A token has limits of its own on all routes together.
  const perMinute = limits.perMinute ?? (caller?.kind === 'token' ? undefined : options.perMinute)
  const { perDay } = limits
  return perMinute === undefined && perDay === undefined ? undefined : { perMinute, perDay }
}

/** Before each of its requests a page may ask, and all pages behind one address count together. */
const PREFLIGHT_FACTOR = 10
const LEAST_PREFLIGHTS = 1_000

/** They use up nothing of what their callers may ask; but whoever calls everything a preflight would have no limit at all. */
function ofPreflights(
  { limits }: ServiceRoute,
  options: Pick<RouteLimitOptions, 'perMinute'>,
): Limits | undefined {
  const perMinute = limits.perMinute ?? options.perMinute
  if (perMinute === undefined) return undefined
  return { perMinute: Math.max(LEAST_PREFLIGHTS, perMinute * PREFLIGHT_FACTOR), perDay: undefined }
}

/** Longer names of callers, which somebody else has chosen, are kept by their hash. */
const LONGEST_KEY = 160

function keyOf(
  { prefix, serves }: ServiceRoute,
  { caller, ip }: FastifyRequest,
  { ipv6PrefixBits }: Pick<RouteLimitOptions, 'ipv6PrefixBits'>,
): string {
  const route = `${ROUTE_KEY}${serves} ${prefix}`
  if (caller?.kind === 'token') return `${route} token ${caller.id}`
  if (caller?.kind !== 'person') return `${route} address ${normalizeIP(ip, ipv6PrefixBits)}`
  const { issuer, id } = caller
  // The length says where the one ends and the other begins.
  const person = `${issuer.length} ${issuer} ${id}`
  if (person.length <= LONGEST_KEY) return `${route} person ${person}`
  return `${route} hash ${createHash('sha256').update(person).digest('base64url')}`
}

function countRoute(
  counting: Counting,
  key: string,
  { perMinute, perDay }: Limits,
): Count | undefined | Promise<Count | undefined> {
  const countDay = (minute: Count | undefined): Count | undefined | Promise<Count | undefined> => {
    // What the minute refuses does not use up the day.
    if (perDay === undefined || minute?.isExceeded) return minute
    const day = counting.count(key, DAY_MS)
    if (day instanceof Promise) return day.then((found) => nearest(readCount(found, perDay, 'day'), minute))
    return nearest(readCount(day, perDay, 'day'), minute)
  }
  if (perMinute === undefined) return countDay(undefined)
  const minute = counting.count(key, MINUTE_MS)
  if (minute instanceof Promise)
    return minute.then((found) => countDay(readCount(found, perMinute, 'minute')))
  return countDay(readCount(minute, perMinute, 'minute'))
}

function readCount({ current, ttl }: WindowCount, limit: number, window: Count['window']): Count {
  const remaining = Math.max(0, limit - current)
  return { limit, remaining, resetMs: ttl, isExceeded: current > limit, window }
}

function nearest(one: Count, other: Count | undefined): Count {
  return other !== undefined && other.remaining < one.remaining && !one.isExceeded ? other : one
}

/** Of the token's limits and the route's own the one that is nearest to its end. */
function tellNearest(request: FastifyRequest, reply: FastifyReply, own: Count | undefined): void {
  const before = request.rate
  if (own === undefined) return
  if (before !== undefined && before.remaining <= own.remaining && !own.isExceeded) return
  request.rate = own
  setRateHeaders(reply, own, 'plain')
}

function tooMany({ limit, window, resetMs }: Count): GatewayError {
  return rateLimited(
    `You may send ${limit} requests a ${window} to this service. Wait as long as "Retry-After" says.`,
    { retryAfterMs: Math.max(1, resetMs) },
  )
}

function tooManyAtOnce({ limits }: ServiceRoute): GatewayError {
  return rateLimited(
    `This service takes ${limits.inFlight} requests at once, of all its callers. Try again in a moment.`,
  )
}

/** How many requests and sockets of each route run in this process; a route that was read anew is the same route. */
class Running {
  readonly #counts = new Map<string, number>()

  /** Takes a place until the end of the answer or of the socket; false: there is none. */
  enter({ prefix, serves, limits }: ServiceRoute, request: FastifyRequest, reply: FastifyReply): boolean {
    if (limits.inFlight === undefined) return true
    const key = `${serves} ${prefix}`
    const count = this.#counts.get(key) ?? 0
    if (count >= limits.inFlight) return false
    this.#counts.set(key, count + 1)
    leaveAtEnd(request, reply, () => {
      const left = (this.#counts.get(key) ?? 1) - 1
      if (left > 0) this.#counts.set(key, left)
      else this.#counts.delete(key)
    })
    return true
  }
}
