import type { ServiceRoute } from '../../src/config/catalog/service-routes.ts'
import { buildRoute } from '../../src/config/catalog/service-row.ts'

/** A row of the table that says no more than where it leads. */
export function serviceRoute(origins: readonly string[], rest: Partial<ServiceRoute> = {}): ServiceRoute {
  const targets = origins.map((origin) => ({ origin, basePath: '' }))
  return { ...buildRoute({ name: 'users', prefix: '/api/users', targets }), ...rest }
}
