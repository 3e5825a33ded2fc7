import type { FastifyRequest } from 'fastify'
import type { Catalog } from '../config/catalog/catalog.ts'
import type { Entry, FoundRoute, ServiceRoute } from '../config/catalog/service-routes.ts'
import type { WsRoute } from '../config/catalog/ws-routes.ts'
import { isBelow } from '../config/public-paths.ts'
import { type GatewayError, notFound } from '../errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The door of services that a route stands behind. */
    entry?: Entry
  }
  interface FastifyRequest {
    /** The row of the table that it leads to; undefined: it is no service's. */
    service: FoundRoute | undefined
  }
}

const rows = new WeakMap<WsRoute, FoundRoute>()

function rowOf(route: WsRoute): FoundRoute {
  const known = rows.get(route)
  if (known) return known
  const { origin, pathname } = new URL(route.url)
  const none = { set: {}, remove: [], pass: [] }
  const row: ServiceRoute = {
    name: route.prefix,
    prefix: route.prefix,
    targets: [{ origin, basePath: pathname === '/' ? '' : pathname }],
    keepsPrefix: false,
    serves: 'websocket',
    entry: route.isOpen ? 'open' : 'token',
    openPaths: [],
    claims: {},
    limits: {},
    timeouts: {},
    retry: { attempts: 2, statuses: [], onReset: false, methods: ['GET'] },
    requestHeaders: none,
    responseHeaders: none,
    cookies: route.isOpen,
    writesUsage: true,
    paths: [],
    sendsInternalKey: false,
    takesQueryKey: false,
    balance: 'round-robin',
  }
  const found = { route: row, entry: row.entry }
  rows.set(route, found)
  return found
}

/** The service that a path leads to: the longest public path that covers it. */
export function findService(routes: readonly WsRoute[], url: string): FoundRoute | undefined {
  if (routes.length === 0) return undefined
  const [path = ''] = url.split('?', 1)
  let best: WsRoute | undefined
  for (const route of routes) {
    const isLonger = route.prefix.length > (best?.prefix.length ?? -1)
    if (isLonger && isBelow(path, route.prefix)) best = route
  }
  return best && rowOf(best)
}

/** What the router tells the routes of services by: `token:ws`, or undefined. */
export function serviceKind(catalog: () => Catalog): (url: string) => string | undefined {
  return (url) => {
    const found = findService(catalog().wsRoutes, url)
    return found && `${found.entry}:ws`
  }
}

/** Sets `request.service` of a request that the router led to one. */
export function serviceLookup(catalog: () => Catalog): (request: FastifyRequest) => GatewayError | undefined {
  return (request) => {
    const { entry } = request.routeOptions.config
    if (entry === undefined) return undefined
    const found = findService(catalog().wsRoutes, request.url)
    // A file that was read again in this very moment.
    if (found?.entry !== entry) return notFound('There is no such path any more.')
    request.service = found
    request.line.route = found.route.prefix
    return undefined
  }
}
