import type { FastifyRequest } from 'fastify'
import type { Catalog } from '../config/catalog/catalog.ts'
import type { WsRoute } from '../config/catalog/ws-routes.ts'
import { isBelow } from '../config/public-paths.ts'
import { type GatewayError, notFound } from '../errors.ts'

/** Whether a service wants a token of ours, or lets anybody in. */
export type ServiceKind = 'token' | 'open'

declare module 'fastify' {
  interface FastifyContextConfig {
    service?: ServiceKind
  }
  interface FastifyRequest {
    /** The service is there on the routes of services. */
    service: WsRoute
  }
}

/** The service that a path leads to: the longest public path that covers it. */
export function findService(routes: readonly WsRoute[], url: string): WsRoute | undefined {
  if (routes.length === 0) return undefined
  const [path = ''] = url.split('?', 1)
  let best: WsRoute | undefined
  for (const route of routes) {
    const isLonger = route.prefix.length > (best?.prefix.length ?? -1)
    if (isLonger && isBelow(path, route.prefix)) best = route
  }
  return best
}

function kindOf(route: WsRoute | undefined): ServiceKind | undefined {
  return route && (route.isOpen ? 'open' : 'token')
}

/** What the router tells the two routes of services by: it knows one of each kind. */
export function serviceKind(catalog: () => Catalog): (url: string) => ServiceKind | undefined {
  return (url) => kindOf(findService(catalog().wsRoutes, url))
}

/** Sets `request.service` of a request that the router led to one. */
export function serviceLookup(catalog: () => Catalog): (request: FastifyRequest) => GatewayError | undefined {
  return (request) => {
    const kind = request.routeOptions.config.service
    if (kind === undefined) return undefined
    const found = findService(catalog().wsRoutes, request.url)
    // A file that was read again in this very moment.
    if (!found || kindOf(found) !== kind) return notFound('There is no such path any more.')
    request.service = found
    request.line.route = found.prefix
    return undefined
  }
}
