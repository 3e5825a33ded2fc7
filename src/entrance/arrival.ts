import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { AddressCheck } from '../config/address-blocks.ts'
import { pathOf } from '../config/catalog/service-table.ts'
import { findAddress, RIGHT_URLS } from '../dialects/addresses.ts'
import { dialectOfHeaders, dialectOfUrl } from '../dialects/headers.ts'
import {
  type GatewayError,
  gatewayRestarting,
  headersTooLarge,
  invalidRequest,
  loopDetected,
} from '../errors.ts'
import { keepClientAlone } from './forwarded-for.ts'
import { checkQuery } from './query-credentials.ts'

const SAFE_ID = /^[A-Za-z0-9._:-]{1,128}$/

/** Fastify's `genReqId`: a client's own id when it is safe to repeat, else a new one, unique across restarts. */
export function makeRequestId(): (request: Pick<IncomingMessage, 'headers'>) => string {
  const prefix = `req_${randomBytes(6).toString('hex')}`
  let count = 0
  return ({ headers }) => {
    const own = headers['x-request-id']
    if (typeof own === 'string' && SAFE_ID.test(own)) return own
    return `${prefix}${(count++).toString(36).padStart(6, '0')}`
  }
}

/**
 * Fastify's `rewriteUrl`, the first that is called of a request, be it a handshake: the URL that a client means, and the
 * address that is the client's, before anybody routes, guards or limits it.
 */
export function readAddresses(
  isTaken: (path: string) => boolean,
  isTrusted: AddressCheck,
): (raw: IncomingMessage) => string {
  return (raw) => {
    const { headers, url = '' } = raw
    if (headers['x-forwarded-for'] !== undefined) keepClientAlone(raw, isTrusted)
    if (RIGHT_URLS.has(url)) return url
    if (isTaken(pathOf(url))) return isReadable(url) ? url : UNREADABLE
    return findAddress(url)
  }
}

/** The router refuses what is no UTF-8 (`%E9`); services may have such names, and are found by the URL as it came. */
const UNREADABLE = '/-'

function isReadable(url: string): boolean {
  if (!url.includes('%')) return true
  try {
    decodeURI(pathOf(url))
    return true
  } catch {
    return false
  }
}

/** Where a client looks for the id besides, by what its headers or its URL say that it speaks. */
function otherName({ headers, url = '' }: IncomingMessage): string | undefined {
  return dialectOfHeaders(headers).requestIdHeader ?? dialectOfUrl(url).requestIdHeader
}

/** `x-request-id` on every answer that goes through `reply`. */
export const requestId = fp(
  async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.header('x-request-id', request.id)
      const name = otherName(request.raw)
      if (name !== undefined) reply.header(name, request.id)
      done()
    })
  },
  { name: 'request-id' },
)

/** The way down: no new work, and a moment when the old work is done. */
export interface Drain {
  /** True from `announce` on: whoever chooses between gateways is told to choose another one. */
  readonly isLeaving: boolean
  readonly isDraining: boolean
  announce(): void
  begin(): void
  /** Asked of each request until the gateway goes down: why it is sent away, if it is. */
  sendAway(refusalOf: RefusalOf): void
  /** Resolves when no request is in flight. */
  idle(): Promise<void>
}

type RefusalOf = (request: FastifyRequest) => GatewayError | undefined

declare module 'fastify' {
  interface FastifyInstance {
    drain: Drain
  }
}

function restarting(): GatewayError {
  return gatewayRestarting('The gateway is restarting. Try again in a moment.')
}

function openDrain() {
  let isLeaving = false
  let isDraining = false
  // Nearly every request of nearly every gateway finds none.
  let refusalOf: RefusalOf | undefined
  let inFlight = 0
  let waiting: (() => void)[] = []
  return {
    get isLeaving() {
      return isLeaving
    },
    get isDraining() {
      return isDraining
    },
    announce() {
      isLeaving = true
    },
    begin() {
      isLeaving = true
      isDraining = true
      refusalOf = restarting
    },
    sendAway(asked: RefusalOf) {
      if (!isDraining) refusalOf = asked
    },
    get refusalOf() {
      return refusalOf
    },
    idle: () => new Promise<void>((resolve) => (inFlight === 0 ? resolve() : waiting.push(resolve))),
    enter() {
      inFlight++
    },
    leave() {
      inFlight--
      if (inFlight > 0) return
      for (const resolve of waiting) resolve()
      waiting = []
    },
  }
}

/** Registered first: whoever comes while the gateway goes down, or can serve no more, is sent to another one. */
export const drain = fp(
  async (app) => {
    const state = openDrain()
    app.decorate('drain', state)
    app.addHook('onRequest', (request, reply, done) => {
      state.enter()
      reply.raw.once('close', state.leave)
      const { refusalOf } = state
      const refusal = refusalOf && request.routeOptions.url !== '/health' ? refusalOf(request) : undefined
      if (refusal !== undefined) reply.header('connection', 'close')
      done(refusal)
    })
  },
  { name: 'drain' },
)

const MOST_HEADERS = 100
const ONLY_ONCE = ['authorization', 'host', 'content-length']
/** Whatever could be read as another path behind us than the one that was routed here. */
function isCrooked(path: string): boolean {
  if (!path.includes('%') && !path.includes('..') && !path.includes('\\')) return false
  const plain = path.replace(/%(00|2e|2f|5c)/gi, (code) => decodeURIComponent(code))
  // What follows a ";" is a parameter to servlets, and no part of the name.
  return plain.includes('\0') || plain.includes('\\') || /(?:^|\/)\.\.(?:[/;]|$)/.test(plain)
}

function checkUrl(url: string): GatewayError | undefined {
  if (!url.startsWith('/')) return invalidRequest('Send the path alone in the request line, as "/v1/models".')
  const start = url.indexOf('?')
  if (!isCrooked(start < 0 ? url : url.slice(0, start))) return undefined
  return invalidRequest('The path holds "..", a backslash or a NUL. Send it without.')
}

/** Node keeps the first of two such headers and drops the other; somebody before us may have believed the other. */
function findTwice(rawHeaders: readonly string[]): string | undefined {
  let seen = ''
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    if (name.length !== 13 && name.length !== 4 && name.length !== 14) continue
    const lower = name.toLowerCase()
    if (!ONLY_ONCE.includes(lower)) continue
    if (seen.includes(lower)) return lower
    seen += `${lower} `
  }
  return undefined
}

type Head = Pick<IncomingMessage, 'url' | 'rawHeaders' | 'headers' | 'httpVersion'>

function checkHead({ rawHeaders, headers, httpVersion }: Head): GatewayError | undefined {
  if (rawHeaders.length > MOST_HEADERS * 2)
    return headersTooLarge(`Send at most ${MOST_HEADERS} headers with a request.`)
  if (headers.host === undefined && httpVersion === '1.1') return invalidRequest('Send the header "host".')
  const twice = findTwice(rawHeaders)
  if (twice) return invalidRequest(`Send the header "${twice}" only once.`)
  const coding = headers['transfer-encoding']
  if (coding !== undefined && coding.toLowerCase() !== 'chunked')
    return invalidRequest('Send the body with "Transfer-Encoding: chunked" alone, or with "Content-Length".')
  return undefined
}

type Check = (request: FastifyRequest) => GatewayError | undefined

export interface GuardOptions {
  /** What is asked of a request that the router led to a service: it finds the route, and has rules of its own for paths. */
  ofServices?: Check
  /** What is asked of a GET besides: handshakes are nothing else. */
  ofGets?: Check
  /** How this gateway is named in `Via`: a request that says so was here before. */
  pseudonym?: string
}

/** Refuses what no client of ours sends. */
export const guard = fp<GuardOptions>(
  async (app, { ofServices, ofGets, pseudonym = 'none' }) => {
    app.decorateRequest('queryKey')
    app.addHook('onRequest', (request, _reply, done) => {
      const { raw, method } = request
      let refusal = checkHead(raw) ?? checkLoop(raw, pseudonym)
      const isServices = ofServices !== undefined && request.routeOptions.config.entry !== undefined
      refusal ??= isServices ? ofServices(request) : checkUrl(raw.url ?? '')
      if (method === 'GET') refusal ??= ofGets?.(request)
      if (raw.url?.includes('?')) refusal ??= checkQuery(request, request.service?.route)
      done(refusal)
    })
    // Before the hook of `@fastify/websocket`, which would cut a refused handshake over its answer: its owner ends it.
    app.addHook('onResponse', (request, _reply, done) => {
      request.ws = false
      done()
    })
  },
  { name: 'guard' },
)

function checkLoop({ headers }: IncomingMessage, pseudonym: string): GatewayError | undefined {
  if (headers.via === undefined || !headers.via.includes(pseudonym)) return undefined
  return loopDetected('This request has been at this gateway before: a route leads back to it.')
}

type Strategy = Parameters<FastifyInstance['addConstraintStrategy']>[0]
type Handler = NonNullable<ReturnType<ReturnType<Strategy['storage']>['get']>>

/** Routes whose paths may change while the app runs: at each request the router asks which of them is meant, if any. */
export function constrain(name: string, kindOf: (raw: IncomingMessage) => string | undefined): Strategy {
  return {
    name,
    // What is the operator's is nobody else's: a path of ours there is not served.
    mustMatchWhenDerived: true,
    storage: () => {
      const handlers = new Map<unknown, Handler>()
      return {
        get: (kind) => handlers.get(kind) ?? null,
        set: (kind, handler) => void handlers.set(kind, handler),
      }
    },
    // No route leads to a path of ours: nearly all requests are for one, and cost no look-up.
    deriveConstraint: (raw) => (RIGHT_URLS.has(raw.url ?? '') ? undefined : kindOf(raw)),
  }
}
