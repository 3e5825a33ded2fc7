import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { copyDownward } from '../dialects/headers.ts'
import { upstreamFailed } from '../errors.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import { type DialTarget, dialWebsocket } from '../upstream/websocket-dial.ts'
import { addWebsocketRoute, passRefusal, readProtocols, whenGone } from '../websocket/upgrade.ts'
import { answerFailure } from './failure.ts'
import type { ServiceKind } from './websocket-lookup.ts'
import { ServiceSession, type ServiceShared } from './websocket-session.ts'

export interface ServiceOptions {
  kind: ServiceKind
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

/** `WS_ROUTES`, and `wsRoutes` of the models file: all services of one kind. Auth and limits are the enclosing scope's. */
export async function serviceRoutes(app: FastifyInstance, options: ServiceOptions): Promise<void> {
  const { kind } = options
  app.decorateRequest('service')
  addWebsocketRoute(app, {
    url: '/*',
    options: { config: { service: kind }, constraints: { service: kind } },
    prepare: (request, reply) => prepare(request, reply, options),
  })
}

async function prepare(
  request: FastifyRequest,
  reply: FastifyReply,
  { shared, ipv6PrefixBits }: ServiceOptions,
): Promise<void> {
  // Unset where nobody was asked for a token.
  const token: Token | undefined = request.service.isOpen ? undefined : request.token
  const session = new ServiceSession(request, shared)
  session.enter({
    key: token ? token.id : `address:${normalizeIP(request.ip, ipv6PrefixBits)}`,
    secretHash: token && request.secretHash,
  })
  whenGone(request, () => session.over())
  try {
    const dialed = await session.open(() => dialWebsocket(buildTarget(request), shared.wayOut))
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

function buildTarget(request: FastifyRequest): DialTarget {
  const { prefix, url, isOpen } = request.service
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
    url: new URL(url + request.url.slice(prefix.length)),
    headers,
    protocols: offered.filter((name) => !PRIVATE.test(name)),
  }
}
