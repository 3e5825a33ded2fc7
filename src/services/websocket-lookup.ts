import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Catalog } from '../config/catalog/catalog.ts'
import type { WsRoute } from '../config/catalog/ws-routes.ts'
import { isBelow } from '../config/public-paths.ts'
import { notFound } from '../errors.ts'

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

export interface ServiceLookupOptions {
  /** A models file that is read again may change its routes. */
  catalog(): Catalog
}

type Strategy = Parameters<FastifyInstance['addConstraintStrategy']>[0]
type Handler = NonNullable<ReturnType<ReturnType<Strategy['storage']>['get']>>

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

/** The router knows two routes, one of each kind, and asks at every request whether the path leads to such a service. */
function buildStrategy(catalog: () => Catalog): Strategy {
  return {
    name: 'service',
    storage: () => {
      const handlers = new Map<unknown, Handler>()
      return {
        get: (kind) => handlers.get(kind) ?? null,
        set: (kind, handler) => void handlers.set(kind, handler),
      }
    },
    deriveConstraint: ({ url = '' }) => kindOf(findService(catalog().wsRoutes, url)),
  }
}

/** Sets `request.service`. */
export const serviceLookup = fp<ServiceLookupOptions>(
  async (app, { catalog }) => {
    app.addConstraintStrategy(buildStrategy(catalog))
    app.decorateRequest('service')
    app.addHook('onRequest', (request, _reply, done) => {
      const kind = request.routeOptions.config.service
      if (kind === undefined) return done()
      const found = findService(catalog().wsRoutes, request.url)
      // A file that was read again in this very moment.
      if (!found || kindOf(found) !== kind) return done(notFound('There is no such path any more.'))
      request.service = found
      request.line.route = found.prefix
      done()
    })
  },
  { name: 'service-lookup', dependencies: ['request-line'] },
)
