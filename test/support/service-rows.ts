import type { ServiceRoute } from '../../src/config/catalog/service-routes.ts'
import type { ServiceRow } from '../../src/stores/contracts/usage-columns.ts'

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

/** A request to a service; nobody pays for it. */
export const serviceRowOf = (requestId: string, special: Partial<ServiceRow> = {}): ServiceRow => ({
  requestId,
  tokenId: 'tok_1',
  user: 'ann',
  provider: 'users',
  endpoint: 'service',
  status: 200,
  latencyMs: 12.4,
  firstByteMs: 3,
  attempts: 1,
  at: 1_700_000_000_000,
  method: 'GET',
  path: '/api/users/{id}',
  bytesIn: 0,
  bytesOut: 1234,
  ...special,
})
