import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Entry, FoundRoute, ServiceRoute, ServiceTarget } from '../config/catalog/service-routes.ts'
import { pathOf } from '../config/catalog/service-table.ts'
import { invalidRequest, notFound, upstreamFailed } from '../errors.ts'
import type { DialTarget, UpgradedEnd } from '../upstream/websocket-dial.ts'
import type { Holder } from '../websocket/open-sockets.ts'
import { addWebsocketRoute, passRefusal, readProtocols, whenGone } from '../websocket/upgrade.ts'
import { buildAnswerHead } from './heads/answer-head.ts'
import { buildRequestHead } from './heads/request-head.ts'
import { type GatewayFacts, schemeOf, tellService } from './heads/told.ts'
import { findMethodMistake } from './http-routes.ts'
import { mapUrl } from './paths/service-path.ts'
import { readSession } from './paths/session-form.ts'
import type { Target } from './targets/target.ts'
import { type Answered, ServiceSession, type ServiceShared } from './websocket-session.ts'

export interface ServiceSocketsOptions {
  /** Whose door the plugin hangs in: auth and limits are the enclosing scope's. */
  entry: Entry
  /** IPv6 clients whom nobody asked who they are count together by so many first bits. */
  ipv6PrefixBits: number
  shared: ServiceShared
  facts: GatewayFacts
}

/** Entries of a client's subprotocols that are credentials or name somebody's account: they are for the gateway alone. */
const PRIVATE = /^openai-(insecure-api-key|organization|project)\./i
/** Where nobody is asked it is a credential of the service's own. */
const BEARER = /^bearer\./

function isPrivate(name: string, { caller }: FastifyRequest): boolean {
  return PRIVATE.test(name) || (caller?.kind !== 'anybody' && BEARER.test(name))
}

/** What a browser offers beside its credential: it hangs up when it offers anything and gets nothing back. */
const CARRIER = 'realtime'

/** The WebSockets of all routes behind one door; the router finds them by the constraint `service` of `<entry>:ws`. */
export async function serviceSockets(app: FastifyInstance, options: ServiceSocketsOptions): Promise<void> {
  const { entry } = options
  addWebsocketRoute(app, {
    url: '/*',
    options: { config: { entry }, constraints: { service: `${entry}:ws` } },
    prepare: (request, reply) => prepare(request, reply, options),
  })
}

async function prepare(
  request: FastifyRequest,
  reply: FastifyReply,
  options: ServiceSocketsOptions,
): Promise<void> {
  const { service: found } = request
  if (!found) throw notFound('There is no such path any more.')
  const refusal = findMethodMistake(request, reply, found.route)
  if (refusal) throw refusal
  const session = new ServiceSession(request, found, options.shared)
  session.enter(holderOf(request, options))
  whenGone(request, () => session.over())
  try {
    const head = buildRequestHead(request.raw, tellService(request, found, options.facts))
    const answered = await session.open((place) => buildHandshake(request, found.route, { place, head }))
    await takeAnswer(answered, { request, reply, found, session, options })
  } catch (error) {
    session.over()
    throw error
  }
}

/** Who holds the socket: all of one holder's count together, and end with the secret that opened them. */
function holderOf(
  { caller, ip, secretHash }: FastifyRequest,
  { ipv6PrefixBits }: Pick<ServiceSocketsOptions, 'ipv6PrefixBits'>,
): Holder {
  const ends = secretHash === '' ? undefined : secretHash
  switch (caller?.kind) {
    case 'token':
      return { key: caller.id, secretHash: ends }
    case 'person':
      // The length says where the one ends and the other begins.
      return { key: `person:${caller.issuer.length}:${caller.issuer}:${caller.id}`, secretHash: ends }
    default:
      return { key: `address:${normalizeIP(ip, ipv6PrefixBits)}`, secretHash: undefined }
  }
}

interface Opening {
  request: FastifyRequest
  reply: FastifyReply
  found: FoundRoute
  session: ServiceSession
  options: ServiceSocketsOptions
}

async function takeAnswer({ dialed, target }: Answered, opening: Opening): Promise<void> {
  const { request, reply, session } = opening
  if (dialed.kind === 'open') return acceptSocket(dialed, target, opening)
  session.over()
  // It may not lead the client away.
  if (dialed.refusal.status < 400) throw upstreamFailed('The service did not open a WebSocket.')
  await passRefusal(reply, dialed.refusal, (_headers, own) => {
    const head = downwardHead(dialed.refusal.rawHeaders, target, { request, reply, found: opening.found })
    for (let at = 0; at < head.length; at += 2) addField(own, head[at] ?? '', head[at + 1] ?? '')
  })
}

function acceptSocket(
  {
    end,
    protocol,
    rawHeaders,
  }: { end: UpgradedEnd; protocol: string | undefined; rawHeaders: readonly string[] },
  target: Target,
  { request, reply, found, session, options }: Opening,
): void {
  const head = downwardHead(rawHeaders, target, { request, reply, found })
  const cookie = options.shared.targets.stickyCookie(found.route, target, {
    headers: request.headers,
    isSecure: schemeOf(request) === 'https',
  })
  if (cookie !== undefined) head.push('set-cookie', cookie)
  request.server.acceptUpgrade(request, reply, {
    protocol: protocol ?? carrierOf(request),
    headers: head,
    begin: (client) => session.begin(client, end),
  })
}

/** A credential among the subprotocols needs another one beside it to be answered with; the service need not know that. */
function carrierOf(request: FastifyRequest): string | undefined {
  const offered = readProtocols(request.headers) ?? []
  return offered.includes(CARRIER) && offered.some((name) => isPrivate(name, request)) ? CARRIER : undefined
}

/** What belongs to the one connection or to the one body that the gateway makes anew. */
const OF_HANDSHAKE = /^(?:sec-websocket-.*|content-length)$/i

function downwardHead(
  rawHeaders: readonly string[],
  { place }: Target,
  { request, reply, found: { route } }: Pick<Opening, 'request' | 'reply' | 'found'>,
): string[] {
  const hasCors = request.cors !== undefined
  const own = reply.getHeaders()
  const seen = { scheme: schemeOf(request), asked: pathOf(request.url) }
  const head = buildAnswerHead(rawHeaders, { route, target: place, hasCors, ...seen, own })
  return head.filter((_text, at) => !OF_HANDSHAKE.test(head[at - (at % 2)] ?? ''))
}

function addField(own: Record<string, string | string[]>, name: string, value: string): void {
  const lower = name.toLowerCase()
  const known = own[lower]
  own[lower] = known === undefined ? value : [known, value].flat()
}

interface Way {
  place: ServiceTarget
  head: readonly string[]
}

function buildHandshake(request: FastifyRequest, route: ServiceRoute, { place, head }: Way): DialTarget {
  const offered = readProtocols(request.headers) ?? []
  return {
    url: new URL(place.origin),
    path: buildPath(request.url, route, place),
    headers: head,
    protocols: offered.filter((name) => !isPrivate(name, request)),
  }
}

function buildPath(url: string, route: ServiceRoute, place: ServiceTarget): string {
  const { session } = place
  const path = pathOf(url)
  const query = url.slice(path.length)
  const rest = session && readSession(session, { path: path.slice(route.prefix.length), query })
  const mapped = mapUrl(rest ? route.prefix + rest.path + rest.query : url, route, place)
  if (mapped === undefined) throw invalidRequest('The path begins with two slashes. Send it with one.')
  return mapped
}
