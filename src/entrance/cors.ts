import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { FoundRoute, RouteCors, ServiceRoute } from '../config/catalog/service-routes.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What pages of other origins may do here; undefined: nothing, or a service says that by itself. */
    cors: RouteCors | undefined
    /** A socket of a page that no rule names: whoever took a name that a `*` covers has not the cookies of this host's users. */
    leavesCookies: boolean
  }
}

const PREFLIGHT_SECONDS = '600'
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
const READABLE_HEADERS = [
  'x-request-id',
  'x-ratelimit-limit-requests',
  'x-ratelimit-remaining-requests',
  'x-ratelimit-reset-requests',
  'x-ratelimit-limit',
  'x-ratelimit-remaining',
  'x-ratelimit-reset',
  'x-gateway-provider',
  'x-gateway-model',
  'x-gateway-attempts',
  'x-gateway-credits-charged',
  'x-gateway-credits-remaining',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'idempotent-replayed',
].join(', ')

/** A `*` of the first label: no dot, so that nobody's own domain below it is meant. */
const STARRED = /^[a-z0-9-]+$/
const METHOD = /^[A-Z][A-Z-]{0,30}$/

function matches(origin: string, entry: string): boolean {
  const star = entry.indexOf('*')
  if (star < 0) return origin === entry
  const rest = entry.slice(star + 1)
  if (!origin.startsWith(entry.slice(0, star)) || !origin.endsWith(rest)) return false
  return STARRED.test(origin.slice(star, Math.max(star, origin.length - rest.length)))
}

/** Exact but for upper case; the `*` of `https://*.example.app` and `https://my-*.example.app` is within one label. `null` is what any sandboxed page sends. */
export function isAllowedOrigin(origin: string | undefined, allowlist: readonly string[]): boolean {
  if (origin === undefined || origin === 'null') return false
  const asked = origin.toLowerCase()
  return allowlist.some((entry) => matches(asked, entry.toLowerCase()))
}

/** A page's question before its request: it carries no credential, whoever may ask the rest. */
function isPreflight(method: string | undefined, headers: IncomingHttpHeaders): boolean {
  return (
    method === 'OPTIONS' &&
    headers.origin !== undefined &&
    headers['access-control-request-method'] !== undefined &&
    headers.authorization === undefined &&
    headers.cookie === undefined
  )
}

/** The gateway's own rules. Never with credentials: tokens come in headers, not cookies. */
function gatewayCors(allowlist: readonly string[]): RouteCors | undefined {
  return allowlist.length === 0 ? undefined : { origins: allowlist, credentials: false }
}

/** For rows whose cookies pass: they are of use to a page with credentials alone, and whoever took a name that a `*` covers is nobody's own page. */
function cookieCors(allowlist: readonly string[]): RouteCors | undefined {
  const named = allowlist.filter((entry) => !entry.includes('*'))
  return named.length === 0 ? undefined : { origins: named, credentials: true }
}

/**
 * The questions of pages that go to a service, through any door: where neither its route nor the gateway has rules of
 * CORS the service has its own, and a page's question never has the credential that the door would ask for.
 */
export function servicePreflightCheck(allowlist: readonly string[]) {
  const own = gatewayCors(allowlist)
  return ({ method, headers }: IncomingMessage, { route }: FoundRoute): boolean =>
    (route.cors ?? own) === undefined && isPreflight(method, headers)
}

/**
 * Whether a page of this origin may open a socket: by the rules of the route, or because the page is the gateway's own host's.
 * Where a service answers CORS by itself nobody says of a socket who may read it: then no other page may.
 */
export function originCheck(
  allowlist: readonly string[],
): (origin: string, request: FastifyRequest) => boolean {
  const own = gatewayCors(allowlist)
  return (origin, { service, host }) => {
    const rules = service?.route.cors ?? own
    if (rules !== undefined && isAllowedOrigin(origin, rules.origins)) return true
    // No cookie of this host goes along with a page of another one that only bears its name.
    return service !== undefined && isOwnHost(origin, host)
  }
}

function isOwnHost(origin: string, host: string): boolean {
  return /^https?:\/\/(.+)$/i.exec(origin)?.[1]?.toLowerCase() === host.toLowerCase()
}

/** Browsers send cookies along with a handshake whatever CORS says of credentials. */
function leavesCookies({ raw, headers, host }: FastifyRequest, { origins, credentials }: RouteCors): boolean {
  const { origin } = headers
  if (credentials || origin === undefined || Reflect.get(raw, 'upgrade') !== true) return false
  const named = origins.filter((entry) => !entry.includes('*'))
  return !isAllowedOrigin(origin, named) && !isOwnHost(origin, host)
}

export interface CorsOptions {
  allowlist: readonly string[]
}

/**
 * Lets named browser origins read our answers, refusals too; a route of a service may have rules of its own. After
 * `guard`, which knows the route, and before anybody is asked who it is: a preflight has no credential.
 */
export const routeCors = fp<CorsOptions>(
  async (app, { allowlist }) => {
    const own = gatewayCors(allowlist)
    const ofCookies = cookieCors(allowlist)
    app.decorateRequest('cors')
    app.decorateRequest('leavesCookies', false)
    app.addHook('onRequest', (request, reply, done) => {
      const route = request.service?.route
      const { origin } = request.headers
      const isNamed = route?.cookies === true && ofCookies && isAllowedOrigin(origin, ofCookies.origins)
      const rules = route?.cors ?? (isNamed ? ofCookies : own)
      if (rules === undefined) return done()
      request.cors = rules
      if (route?.cookies || route?.requestHeaders.pass.includes('cookie'))
        request.leavesCookies = leavesCookies(request, rules)
      // Without an origin too: a cache must not give that answer to a page.
      reply.header('vary', 'Origin')
      const isAllowed = isAllowedOrigin(origin, rules.origins)
      if (isAllowed) allow(reply, origin, rules)
      if (request.method !== 'OPTIONS') return done()
      if (route ? isPreflight('OPTIONS', request.headers) : isAllowed)
        return answerPreflight(request, reply, isAllowed ? methodsOf(route, request.headers) : undefined)
      done()
    })
  },
  { name: 'cors' },
)

function allow(reply: FastifyReply, origin: string | undefined, { credentials }: RouteCors): void {
  reply.header('access-control-allow-origin', origin)
  reply.header('access-control-expose-headers', READABLE_HEADERS)
  if (credentials) reply.header('access-control-allow-credentials', 'true')
}

function methodsOf(route: ServiceRoute | undefined, headers: IncomingHttpHeaders): readonly string[] {
  if (route?.methods) return route.methods
  const asked = headers['access-control-request-method'] ?? ''
  return !route || METHODS.includes(asked) || !METHOD.test(asked) ? METHODS : [...METHODS, asked]
}

/** `methods`: undefined, when its origin gets no leave. */
function answerPreflight(
  { headers }: FastifyRequest,
  reply: FastifyReply,
  methods: readonly string[] | undefined,
): void {
  reply.header('vary', 'Origin, Access-Control-Request-Headers')
  if (methods) {
    const asked = headers['access-control-request-headers']
    reply.header('access-control-allow-methods', methods.join(', '))
    if (asked !== undefined) reply.header('access-control-allow-headers', asked)
    reply.header('access-control-max-age', PREFLIGHT_SECONDS)
  }
  // Some browsers wait for a body that no header rules out.
  void reply.code(204).header('content-length', '0').send()
}
