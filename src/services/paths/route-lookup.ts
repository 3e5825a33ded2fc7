import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { Catalog } from '../../config/catalog/catalog.ts'
import type { Entry, FoundRoute, ServiceKind } from '../../config/catalog/service-routes.ts'
import { pathOf } from '../../config/catalog/service-table.ts'
import { type GatewayError, notFound } from '../../errors.ts'
import { findServiceHeadMistake, findServicePathMistake } from './service-path.ts'

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

/** Which requests are questions of pages before their requests, that the service itself answers, and to anybody. */
export type PreflightCheck = (raw: IncomingMessage, found: FoundRoute) => boolean

export interface LookupOptions {
  catalog(): Catalog
  isServicesPreflight: PreflightCheck
}

interface Found {
  found: FoundRoute
  kind: ServiceKind
}

/** A handshake for a path without WebSockets, and plain HTTP for one with nothing else, find what there is: it says so. */
function find(raw: IncomingMessage, { catalog, isServicesPreflight }: LookupOptions): Found | undefined {
  const { services } = catalog()
  if (services.routes.length === 0) return undefined
  const { method = '' } = raw
  const path = pathOf(sentUrl(raw))
  const isHandshake = method === 'GET' && raw.headers.upgrade !== undefined && isUpgrade(raw)
  const kind = isHandshake ? 'websocket' : 'http'
  const found = services.find(path, method, kind)
  if (found) {
    const isOpened = method === 'OPTIONS' && found.entry !== 'open' && isServicesPreflight(raw, found)
    return { found: isOpened ? { route: found.route, entry: 'open' } : found, kind }
  }
  if (method !== 'GET') return undefined
  const other = isHandshake ? 'http' : 'websocket'
  const instead = services.find(path, method, other)
  return instead && { found: instead, kind: other }
}

/** As it came: what the router was shown in its place (`readAddresses`) is none of a service's. */
function sentUrl(raw: IncomingMessage & { originalUrl?: string }): string {
  return raw.originalUrl ?? raw.url ?? ''
}

function isUpgrade(raw: IncomingMessage): boolean {
  return Reflect.get(raw, 'upgrade') === true
}

/** What the router tells the routes of services by: `token`, or `token:ws` for WebSockets. */
export function serviceDoor(options: LookupOptions): (raw: IncomingMessage) => string | undefined {
  return (raw) => {
    const there = find(raw, options)
    if (!there) return undefined
    return there.kind === 'websocket' ? `${there.found.entry}:ws` : there.found.entry
  }
}

/** Sets `request.service` of a request that the router led to one, or says why it goes no further. */
export function serviceLookup(options: LookupOptions): (request: FastifyRequest) => GatewayError | undefined {
  return (request) => {
    const found = find(request.raw, options)?.found
    // A file that was read again in this very moment.
    if (found === undefined || found.entry !== request.routeOptions.config.entry)
      return notFound('There is no such path any more.')
    request.service = found
    request.raw.url = sentUrl(request.raw)
    request.line.route = found.route.prefix
    return findServiceHeadMistake(request.raw) ?? findServicePathMistake(pathOf(request.url))
  }
}
