import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import fastifyWebsocket, { type WebsocketPluginOptions } from '@fastify/websocket'
import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  preHandlerAsyncHookHandler,
  RouteShorthandOptions,
} from 'fastify'
import fp from 'fastify-plugin'
import { WebSocket } from 'ws'
import {
  type GatewayError,
  invalidRequest,
  originNotAllowed,
  upgradeNotServed,
  upgradeRequired,
  upstreamFailed,
} from '../errors.ts'
import type { End } from './relay.ts'

/** What the 101 says, and who takes over the socket after it. */
export interface Acceptance {
  protocol: string | undefined
  /** Added to those of the reply; a list (names and values in turn) is all there are. */
  headers: Record<string, string> | readonly string[]
  begin(client: End): void
}

declare module 'fastify' {
  interface FastifyContextConfig {
    isWebsocket?: boolean
  }
  interface FastifyInstance {
    /** To be called in a route's `preHandler`, when the upstream has said yes. */
    acceptUpgrade(request: FastifyRequest, reply: FastifyReply, acceptance: Acceptance): void
  }
}

/** Hands the raw socket over instead of reading frames itself (`WebSocket` is a documented option of ws's server). */
class RawWebSocket extends WebSocket {
  end: End | undefined

  setSocket(socket: unknown, head: Buffer): void {
    if (socket instanceof Socket) this.end = { socket, head }
  }
}

const HALF_CLOSED = 'Keep your side of the connection open: a WebSocket needs both.'
const KEY = /^[+/0-9A-Za-z]{22}==$/

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** The subprotocols that a client offers, as it wrote them; undefined: they are no list of tokens. */
export function readProtocols(headers: IncomingHttpHeaders): readonly string[] | undefined {
  const text = headers['sec-websocket-protocol']
  if (text === undefined) return []
  const names = text.split(',').map((name) => name.trim())
  return names.every((name) => TOKEN.test(name)) && new Set(names).size === names.length ? names : undefined
}

function checkHandshake({ headers }: IncomingMessage): GatewayError | undefined {
  if (headers['sec-websocket-version'] !== '13') return upgradeRequired('Send "Sec-WebSocket-Version: 13".')
  if (!KEY.test(headers['sec-websocket-key'] ?? ''))
    return invalidRequest('Send a "Sec-WebSocket-Key" of 16 bytes in base64.')
  if (!readProtocols(headers)) return invalidRequest('"Sec-WebSocket-Protocol" must be a list of names.')
  return undefined
}

/** Why a handshake is refused before anybody asks whose it is: the guard asks this of every GET. */
export function handshakeCheck(
  isAllowedOrigin: (origin: string, request: FastifyRequest) => boolean,
): (request: FastifyRequest) => GatewayError | undefined {
  return (request) => {
    if (Reflect.get(request.raw, 'upgrade') !== true) return undefined
    const { origin } = request.headers
    if (origin !== undefined && !isAllowedOrigin(origin, request))
      return originNotAllowed('Pages of this origin may not connect. Ask the operator to allow it.')
    if (request.is404 && !isPosted(request)) return undefined
    if (!isWebsocketRoute(request)) return upgradeNotServed('No WebSocket is served here. Send plain HTTP.')
    return checkHandshake(request.raw)
  }
}

/** A path that exists, though not for the GET of a handshake. */
function isPosted({ server, url }: FastifyRequest): boolean {
  return server.hasRoute({ method: 'POST', url: url.split('?', 1)[0] ?? '' })
}

function answerHeaders(reply: FastifyReply, own: Acceptance['headers']): string[] {
  const flat = Array.isArray(own) ? own : Object.entries({ ...reply.getHeaders(), ...own }).flat()
  const lines: string[] = []
  for (let at = 0; at < flat.length; at += 2) {
    const value: unknown = flat[at + 1]
    if (value !== undefined) lines.push(`${flat[at]}: ${String(value).replace(/[^\x20-\x7e]/g, '')}`)
  }
  return lines
}

/**
 * What becomes of handshakes. Hooks run as for any request, so whatever refuses does so with an HTTP status;
 * the 101 goes out when `acceptUpgrade` was called. Until then the socket is a `Handshake`'s.
 */
export const upgrade = fp(
  async (app) => {
    const { handshakes } = app
    const accepted = new WeakMap<IncomingMessage, Acceptance & { lines: string[] }>()
    const options: WebsocketPluginOptions['options'] = {
      clientTracking: false,
      perMessageDeflate: false,
      handleProtocols: (_offered, raw) => accepted.get(raw)?.protocol ?? false,
    }
    // Its type asks for the module's static properties too, which nobody reads.
    Reflect.set(options, 'WebSocket', RawWebSocket)
    Reflect.set(options, 'server', handshakes.inlet)
    await app.register(fastifyWebsocket, { options })
    app.websocketServer.on('headers', (lines, raw) => lines.push(...(accepted.get(raw)?.lines ?? [])))
    app.websocketServer.on('connection', (socket, raw) => {
      const acceptance = accepted.get(raw)
      handshakes.accept(raw)
      if (socket instanceof RawWebSocket && socket.end && acceptance) acceptance.begin(socket.end)
      else raw.socket.destroy()
    })
    app.decorate('acceptUpgrade', (request, reply, acceptance) => {
      // The package would hang up without a word.
      if (request.raw.socket.readableEnded) throw invalidRequest(HALF_CLOSED)
      accepted.set(request.raw, { ...acceptance, lines: answerHeaders(reply, acceptance.headers) })
    })
  },
  { name: 'websocket-upgrade' },
)

function isWebsocketRoute({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.config.isWebsocket === true
}

async function refusePlain(_request: FastifyRequest, reply: FastifyReply): Promise<never> {
  reply.headers({ upgrade: 'websocket', connection: 'upgrade, close' })
  throw upgradeRequired('Connect here with a WebSocket.')
}

export interface WebsocketRoute {
  url: string
  /** Which requests for this path are the route's, where not all are, and what hooks read of it. */
  options?: Pick<RouteShorthandOptions, 'config' | 'constraints'>
  /** Refuses, or calls `acceptUpgrade`. */
  prepare(request: FastifyRequest, reply: FastifyReply): Promise<void>
}

/** A route that is nothing but a WebSocket. */
export function addWebsocketRoute(app: FastifyInstance, { url, options, prepare }: WebsocketRoute): void {
  const preHandler: preHandlerAsyncHookHandler = async (request, reply) => {
    if (!request.ws) return
    request.server.handshakes.extend(request.raw)
    await prepare(request, reply)
  }
  app.route({
    method: 'GET',
    url,
    ...options,
    config: { ...options?.config, isWebsocket: true },
    preHandler,
    handler: refusePlain,
    // `connection` has begun the relay already.
    wsHandler: () => {},
  })
}

/** An upstream's own HTTP answer instead of an upgrade. */
export interface UpstreamRefusal {
  status: number
  headers: IncomingHttpHeaders
  /** Undefined: it is too long. */
  body: Buffer | undefined
}

/** Answers with the upstream's own words; `copy` takes over what of its headers a client may see. */
export async function passRefusal(
  reply: FastifyReply,
  { status, headers, body }: UpstreamRefusal,
  copy: (headers: IncomingHttpHeaders, own: Record<string, string | string[]>) => void,
): Promise<void> {
  // Half of its words would look like all of them.
  if (!body) throw upstreamFailed(`The upstream refused with ${status}, in more words than can be passed on.`)
  const own: Record<string, string | string[]> = {}
  copy(headers, own)
  await reply.code(status).headers(own).send(body)
}

/** Calls `gone` also for a client that is gone already: nobody listened while its token was checked. */
export function whenGone({ raw }: FastifyRequest, gone: () => void): void {
  if (raw.socket.destroyed) gone()
  else raw.socket.once('close', gone)
}
