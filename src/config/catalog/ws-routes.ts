import type { ServiceRoute } from './service-routes.ts'

/** A public path whose WebSockets are handed to a service, unmetered. */
export interface WsRoute {
  prefix: string
  /** The service, its scheme `http:` or `https:` as the handshake is HTTP; the rest of the path and the query follow. */
  url: string
  /** Lets clients through without a token. */
  isOpen: boolean
}

/** Rows of the table in the form that `src/services/websocket-lookup.ts` still reads. */
export function wsRoutesOf(routes: readonly ServiceRoute[]): WsRoute[] {
  return routes.flatMap(({ prefix, serves, entry, targets: [target] }) =>
    serves === 'http' || !target
      ? []
      : [{ prefix, url: target.origin + target.basePath, isOpen: entry === 'open' }],
  )
}
