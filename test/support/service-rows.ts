import type { ServiceRoute } from '../../src/config/catalog/service-routes.ts'

const NO_RULES = { set: {}, remove: [], pass: [] }

/** A route of services of which nothing is said but what a test is about. */
export function routeOf(special: Partial<ServiceRoute> = {}): ServiceRoute {
  return {
    name: 'users',
    prefix: '/api/users',
    targets: [{ origin: 'http://127.0.0.1:9', basePath: '' }],
    keepsPrefix: false,
    serves: 'both',
    entry: 'token',
    openPaths: [],
    claims: {},
    limits: {},
    timeouts: {},
    retry: { attempts: 1, statuses: [], onReset: false, methods: [] },
    requestHeaders: NO_RULES,
    responseHeaders: NO_RULES,
    cookies: false,
    writesUsage: true,
    paths: [],
    sendsInternalKey: false,
    takesQueryKey: false,
    balance: 'round-robin',
    ...special,
  }
}
