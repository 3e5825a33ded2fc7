import type { HeaderRules, RouteRetry, ServiceRoute } from './service-routes.ts'

/** Methods that may be asked twice (RFC 9110, 9.2.2). */
export const REPEATABLE = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'] as const

/** Nothing is asked again that a service may have seen. */
export const USUAL_RETRY: RouteRetry = { attempts: 2, statuses: [], onReset: false, methods: REPEATABLE }

export const NO_RULES: HeaderRules = { set: {}, remove: [], pass: [] }

/** What a row of the table says at least. */
export type SaidRoute = Partial<ServiceRoute> & Pick<ServiceRoute, 'prefix'>

/** A row with everything that is not said: asked for a token of ours, both kinds, no limits of its own. */
export function buildRoute(said: SaidRoute): ServiceRoute {
  const entry = said.entry ?? 'token'
  return {
    name: said.prefix,
    targets: [],
    keepsPrefix: false,
    serves: 'both',
    openPaths: [],
    claims: {},
    limits: {},
    timeouts: {},
    retry: USUAL_RETRY,
    requestHeaders: NO_RULES,
    responseHeaders: NO_RULES,
    // Whoever lets anybody in knows its users by cookies of its own.
    cookies: entry === 'open',
    writesUsage: true,
    paths: [],
    sendsInternalKey: false,
    takesQueryKey: false,
    balance: 'round-robin',
    ...said,
    entry,
  }
}
