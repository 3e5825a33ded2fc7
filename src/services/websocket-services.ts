import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { upstreamFailed, upstreamTimeout } from '../errors.ts'
import type { Failure } from '../routing/failover.ts'
import { ownFault } from '../routing/verdict.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import { type DialTarget, dial } from '../websocket/dial.ts'
import { passRefusal } from '../websocket/refusal.ts'
import { publicProtocols, readProtocols } from '../websocket/subprotocols.ts'
import type { WebsocketTools } from '../websocket/tools.ts'
import { addWebsocketRoute, whenGone } from '../websocket/upgrade.ts'
import type { ServiceKind } from './websocket-lookup.ts'
import { ServiceSession } from './websocket-session.ts'

export interface ServiceOptions {
  kind: ServiceKind
  tools: WebsocketTools
}

/** What of a client's request a service may see. */
const UPWARD = ['user-agent', 'accept-language'] as const
/** A service that lets its own users in, without a token of ours, needs what tells it who they are. */
const UPWARD_OPEN = ['authorization', 'cookie', 'origin'] as const

/** `WS_ROUTES`, and `wsRoutes` of the models file: all services of one kind. Auth and limits are the enclosing scope's. */
export const serviceRoutes = async (app: FastifyInstance, { kind, tools }: ServiceOptions): Promise<void> => {
  addWebsocketRoute(app, {
    url: '/*',
    service: kind,
    prepare: (request, reply) => relay(request, reply, tools),
  })
}

const relay = async (request: FastifyRequest, reply: FastifyReply, tools: WebsocketTools): Promise<void> => {
  // Unset where nobody was asked for a token.
  const token: Token | undefined = request.service.isOpen ? undefined : request.token
  const session = new ServiceSession(request, tools)
  session.enter({
    key: token ? token.id : `address:${request.ip}`,
    secretHash: token && request.secretHash,
  })
  whenGone(request, () => session.over())
  try {
    const dialed = await session.open(() => dial(buildTarget(request), tools.timeouts))
    if (dialed.kind === 'refused') {
      session.over()
      // It may not lead the client away.
      if (dialed.refusal.status < 400) throw upstreamFailed('The service did not open a WebSocket.')
      return await passRefusal(reply, dialed.refusal)
    }
    if (dialed.kind === 'failed') throw readFailure(dialed.failure, dialed.error)
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

const readFailure = (failure: Failure, cause: Error | undefined): Error => {
  if (failure.kind === 'own') return ownFault(failure)
  return failure.kind === 'timeout'
    ? upstreamTimeout('The service did not answer in time.', { cause })
    : upstreamFailed('The service could not be reached.', { cause })
}

const buildTarget = (request: FastifyRequest): DialTarget => {
  const { prefix, url, isOpen } = request.service
  const headers: Record<string, string> = {
    'x-request-id': request.id,
    'x-forwarded-for': request.ip,
    'x-forwarded-proto': request.protocol,
  }
  for (const name of isOpen ? [...UPWARD, ...UPWARD_OPEN] : UPWARD) {
    const value = request.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  const offered = readProtocols(request.headers) ?? []
  return {
    url: new URL(url + request.url.slice(prefix.length)),
    headers,
    protocols: publicProtocols(offered),
  }
}
