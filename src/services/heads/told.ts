import type { FastifyRequest } from 'fastify'
import type { FoundRoute } from '../../config/catalog/service-routes.ts'
import type { Told } from './request-head.ts'

/** What a gateway says of itself to services; one per app. */
export interface GatewayFacts {
  internalKey(): string | undefined
  /** What `Via` says of this gateway. */
  pseudonym: string
  makeTraceparent(): string
}

/** What a service is told of a request, over HTTP and before a socket alike. */
export function tellService(
  request: FastifyRequest,
  { route, entry }: FoundRoute,
  facts: GatewayFacts,
): Told {
  return {
    route,
    caller: request.caller,
    isOpened: entry !== route.entry,
    leavesCookies: request.leavesCookies,
    isEchoed: request.method === 'TRACE',
    passesAuthorization: entry === 'open' || request.credentialIn !== 'authorization',
    requestId: request.id,
    address: request.ip,
    scheme: schemeOf(request),
    host: request.host === '' ? undefined : request.host,
    internalKey: facts.internalKey(),
    via: `1.1 ${facts.pseudonym}`,
    makeTraceparent: facts.makeTraceparent,
  }
}

/** What proxies say that a client speaks: Traefik calls a handshake by the scheme of its socket. */
const SCHEMES = new Map<string, 'https' | 'http'>([
  ['https', 'https'],
  ['wss', 'https'],
  ['http', 'http'],
  ['ws', 'http'],
])

/** What a proxy of ours writes may be what its own client wrote. */
export function schemeOf({ protocol, raw }: FastifyRequest): 'https' | 'http' {
  return SCHEMES.get(protocol) ?? (Reflect.get(raw.socket, 'encrypted') === true ? 'https' : 'http')
}
