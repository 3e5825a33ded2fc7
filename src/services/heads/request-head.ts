import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { ServiceRoute } from '../../config/catalog/service-routes.ts'
import { decodeAscii } from '../paths/service-path.ts'
import { connectionNames, METHOD_OVERRIDES, mayPassUp, mayTrailUp, passFields } from './passing-headers.ts'
import { isTraceparent } from './trace.ts'

/** What a service is told besides what the client sent. */
export interface Told {
  route: Pick<
    ServiceRoute,
    'prefix' | 'keepsPrefix' | 'cookies' | 'methods' | 'openPaths' | 'requestHeaders' | 'sendsInternalKey'
  >
  caller: FastifyRequest['caller']
  /** Nobody was asked, though the route asks: an open path, or a page's question before its request. */
  isOpened: boolean
  /** The client's cookies may not go along, whatever the route says. */
  leavesCookies: boolean
  /** The answer is the request as it came (TRACE): what the service alone may know is left out. */
  isEchoed: boolean
  /** The client's `authorization` is none of ours: nobody was asked, or another credential let it in. */
  passesAuthorization: boolean
  requestId: string
  address: string
  scheme: string
  /** What the client called us; undefined: nothing. */
  host: string | undefined
  internalKey: string | undefined
  /** The end of `Via`. */
  via: string
  makeTraceparent(): string
}

/** As a client sent it. */
export interface SentHead {
  rawHeaders: readonly string[]
  headers: IncomingHttpHeaders
}

const EXPECTS = /^100-continue$/i
/** Clients send their token along wherever they go; behind an open path it is nobody's but the gateway's all the same. */
const OUR_TOKEN = /^bearer +gw-[\w-]{43} *$/i

/** The head of a request to a service, names and values in turn: `host` and the body's length are the way out's. */
export function buildRequestHead({ rawHeaders, headers }: SentHead, told: Told): string[] {
  const { route } = told
  const { remove, pass } = route.requestHeaders
  const head: string[] = []
  const hop = connectionNames(headers.connection)
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? ''
    const lower = name.toLowerCase()
    // Fields follow chunks alone: without them nothing may say that they do.
    if (lower === 'trailer' && headers['transfer-encoding'] === undefined) continue
    if (!mayPassUp(lower) || hop?.has(lower) || remove.includes(lower)) {
      if (!pass.includes(lower) || !isPassable(lower)) continue
    } else if (!isWanted(lower, told)) continue
    const value = rawHeaders[at + 1] ?? ''
    if (lower === 'authorization' && OUR_TOKEN.test(value) && !pass.includes(lower)) continue
    head.push(name, lower === 'referer' ? withoutKey(value) : value)
  }
  addTrailersWish(head, headers.te)
  // The client waits to be asked for its body, and so does the gateway.
  if (headers.expect !== undefined && EXPECTS.test(headers.expect)) head.push('expect', '100-continue')
  addRules(head, route, told.isEchoed)
  addTrace(head, headers, told)
  addOrigin(head, told)
  addCaller(head, told)
  return head
}

/** Whether a rule may pass what is taken out otherwise: a credential, but nothing that the gateway itself says. */
function isPassable(name: string): boolean {
  return name === 'x-api-key' || name === 'api-key' || name === 'x-goog-api-key'
}

function isWanted(name: string, told: Told): boolean {
  const { route, passesAuthorization, isOpened, leavesCookies } = told
  if (name === 'authorization') return passesAuthorization || route.requestHeaders.pass.includes(name)
  if (name === 'cookie') return !leavesCookies && (route.cookies || route.requestHeaders.pass.includes(name))
  if (METHOD_OVERRIDES.has(name))
    return route.methods === undefined && route.openPaths.length === 0 && !isOpened
  return true
}

const KEY_IN_QUERY = /[?&;]\s*(?:api[_-]?key|x-api-key)\s*(?:[=&;]|$)/i

/** A page whose own URL had a key says so to whatever it asks for next. */
function withoutKey(referer: string): string {
  const start = referer.indexOf('?')
  return start >= 0 && KEY_IN_QUERY.test(decodeAscii(referer.slice(start)))
    ? referer.slice(0, start)
    : referer
}

/** The one wish of `TE` that the gateway passes, for it passes trailers: gRPC asks for nothing less. */
function addTrailersWish(head: string[], te: string | string[] | undefined): void {
  if (te !== undefined && /(?:^|[\s,])trailers\b/i.test(String(te))) head.push('te', 'trailers')
}

/** What a client says behind its body: the rules of the route hold there too, for some servers read it as if it stood before. */
export function trailersUp(
  trailers: readonly string[],
  { requestHeaders: { remove, set } }: Pick<ServiceRoute, 'requestHeaders'>,
): string[] {
  return passFields(trailers, (name) => mayTrailUp(name) && !remove.includes(name) && !(name in set))
}

/** Where what is set may not be shown, a client's own does not stand in its place. */
function addRules(head: string[], { requestHeaders: { set } }: Told['route'], isEchoed: boolean): void {
  for (const name in set) {
    if (!mayPassUp(name) && !isPassable(name)) continue
    drop(head, name)
    if (!isEchoed) head.push(name, set[name] ?? '')
  }
}

function drop(head: string[], name: string): void {
  for (let at = head.length - 2; at >= 0; at -= 2) if (head[at]?.toLowerCase() === name) head.splice(at, 2)
}

function addTrace(head: string[], { traceparent, tracestate, via }: IncomingHttpHeaders, told: Told): void {
  if (typeof traceparent === 'string' && isTraceparent(traceparent)) {
    head.push('traceparent', traceparent)
    if (tracestate !== undefined) head.push('tracestate', String(tracestate))
  } else head.push('traceparent', told.makeTraceparent())
  head.push('x-request-id', told.requestId, 'via', via === undefined ? told.via : `${via}, ${told.via}`)
}

function addOrigin(head: string[], told: Told): void {
  const { route, address, scheme, host, internalKey, isEchoed } = told
  head.push('x-forwarded-for', address, 'x-forwarded-proto', scheme)
  if (host !== undefined) head.push('x-forwarded-host', host)
  if (!route.keepsPrefix) head.push('x-forwarded-prefix', route.prefix)
  if (route.sendsInternalKey && internalKey !== undefined && !isEchoed)
    head.push('x-internal-api-key', internalKey)
}

function addCaller(head: string[], { caller }: Told): void {
  if (caller?.kind === 'person') head.push('x-user-id', caller.userId, 'x-user-claims', caller.userClaims)
  else if (caller?.kind === 'token') head.push('x-token-id', caller.id, 'x-token-user', asValue(caller.user))
}

const PLAIN_VALUE = /^(?! )[\x20-\x24\x26-\x7e]*(?<! )$/

/** A name as a header may hold it; no two names become one. */
function asValue(text: string): string {
  return PLAIN_VALUE.test(text) ? text : encodeURIComponent(text.toWellFormed())
}
