import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Entry, FoundRoute } from '../config/catalog/service-routes.ts'
import { copyDownward } from '../dialects/headers.ts'
import { notFound, upstreamFailed } from '../errors.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import { type DialTarget, dialWebsocket } from '../upstream/websocket-dial.ts'
import { addWebsocketRoute, passRefusal, readProtocols, whenGone } from '../websocket/upgrade.ts'
import { answerFailure } from './failure.ts'
import { ServiceSession, type ServiceShared } from './websocket-session.ts'

export interface ServiceSocketsOptions {
  /** Whose door the plugin hangs in: auth and limits are the enclosing scope's. */
  entry: Entry
  /** IPv6 clients without a token count together by so many first bits. */
  ipv6PrefixBits: number
  shared: ServiceShared
}

/** What of a client's request a service may see. */
const UPWARD = ['user-agent', 'accept-language'] as const
/** A service that lets its own users in, without a token of ours, needs what tells it who they are. */
const UPWARD_OPEN = ['authorization', 'cookie', 'origin'] as const

/** Entries of a client's subprotocols that are credentials or name somebody's account: they are for the gateway alone. */
const PRIVATE = /^openai-(insecure-api-key|organization|project)\./i

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
  { shared, ipv6PrefixBits }: ServiceSocketsOptions,
): Promise<void> {
  // Unset where nobody was asked for a token.
  const token: Token | undefined = request.token
  const { service } = request
  if (!service) throw notFound('There is no such path any more.')
  const session = new ServiceSession(request, shared)
  session.enter({
    key: token ? token.id : `address:${normalizeIP(request.ip, ipv6PrefixBits)}`,
    secretHash: token && request.secretHash,
  })
  whenGone(request, () => session.over())
  try {
    const dialed = await session.open(() => dialWebsocket(buildTarget(request, service), shared.wayOut))
    if (dialed.kind === 'refused') {
      session.over()
      // It may not lead the client away.
      if (dialed.refusal.status < 400) throw upstreamFailed('The service did not open a WebSocket.')
      return await passRefusal(reply, dialed.refusal, copyDownward)
    }
    if (dialed.kind === 'failed') throw answerFailure(dialed.error, 'service')
    const { end, protocol } = dialed
    request.server.acceptUpgrade(request, reply, {
      protocol,
      headers: {},
      begin: (client) => session.begin(client, end),
    })
  } catch (error) {
    session.over()
    throw error
  }
}

/** What a proxy of ours writes may be what its own client wrote. */
function schemeOf({ protocol, raw }: FastifyRequest): string {
  if (protocol === 'https' || protocol === 'http') return protocol
  return Reflect.get(raw.socket, 'encrypted') === true ? 'https' : 'http'
}

function buildTarget(request: FastifyRequest, { route, entry }: FoundRoute): DialTarget {
  const [target] = route.targets
  const url = `${target?.origin}${target?.basePath}`
  const isOpen = entry === 'open'
  const headers: Record<string, string> = {
    'x-request-id': request.id,
    'x-forwarded-for': request.ip,
    'x-forwarded-proto': schemeOf(request),
  }
  for (const name of isOpen ? [...UPWARD, ...UPWARD_OPEN] : UPWARD) {
    const value = request.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  const offered = readProtocols(request.headers) ?? []
  return {
    url: new URL(url + request.url.slice(route.prefix.length)),
    headers,
    protocols: offered.filter((name) => !PRIVATE.test(name)),
  }
}
