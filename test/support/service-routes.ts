import type { ServiceRoute, ServiceTable } from '../../src/config/catalog/service-routes.ts'

const NO_RULES = { set: {}, remove: [], pass: [] }

/** A row of the table as one is that says no more than where it leads. */
export function serviceRoute(origins: readonly string[], rest: Partial<ServiceRoute> = {}): ServiceRoute {
  return {
    name: 'users',
    prefix: '/api/users',
    targets: origins.map((origin) => ({ origin, basePath: '' })),
    keepsPrefix: false,
    serves: 'both',
    entry: 'token',
    openPaths: [],
    claims: {},
    limits: {},
    timeouts: {},
    retry: { attempts: 2, statuses: [], onReset: false, methods: ['GET'] },
    requestHeaders: NO_RULES,
    responseHeaders: NO_RULES,
    cookies: false,
    writesUsage: true,
    paths: [],
    sendsInternalKey: false,
    takesQueryKey: false,
    balance: 'round-robin',
    ...rest,
  }
}

/** The table of these rows alone; it is searched one by one. */
export function serviceTable(...routes: ServiceRoute[]): ServiceTable {
  return {
    routes,
    find(path) {
      const route = routes.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`))
      return route && { route, entry: route.entry }
    },
  }
}
