import { suggest } from '../suggest.ts'
import type { CatalogSettings, Provider, SourcedRoute } from './catalog.ts'
import { describeMissing } from './models-checks.ts'
import type { ServiceKind, ServiceRoute } from './service-routes.ts'

const KINDS: readonly ServiceKind[] = ['http', 'websocket']
const JWT_KEYS = 'JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL'

interface Checking {
  settings: Pick<CatalogSettings, 'jwt' | 'queryKeyRoutes'>
  mistakes: string[]
}

/** All rows with what the settings say of them; what is wrong between them is added to the mistakes. */
export function joinServices(
  rows: readonly SourcedRoute[],
  { settings, mistakes }: Checking,
): ServiceRoute[] {
  const seen = new Map<string, SourcedRoute>()
  for (const row of rows) {
    checkEntry(row, { settings, mistakes })
    const keys = kindsOf(row.route).map((kind) => keyOf(kind, row.route))
    const before = keys.map((key) => seen.get(key)).find((found) => found !== undefined)
    if (before) mistakes.push(`${row.source} ${describeTwice(row, before)}`)
    for (const key of keys) seen.set(key, row)
  }
  for (const name of settings.queryKeyRoutes) checkQueryKey(name, { rows, mistakes })
  const takesQueryKey = (name: string): boolean => settings.queryKeyRoutes.includes(name)
  return rows.map(({ route }) => (takesQueryKey(route.name) ? { ...route, takesQueryKey: true } : route))
}

function kindsOf({ serves }: ServiceRoute): readonly ServiceKind[] {
  return serves === 'both' ? KINDS : [serves]
}

/** A service may not care for the case of letters. */
function keyOf(kind: ServiceKind, { prefix }: ServiceRoute): string {
  return `${kind} ${prefix.toLowerCase()}`
}

function describeTwice({ source, route }: SourcedRoute, before: SourcedRoute): string {
  if (before.source === source) return 'leads to two places: remove one of them'
  const same =
    before.route.prefix === route.prefix ? 'has the path' : 'has, but for the case of letters, the path'
  return `${same} of ${before.source}: give one of them another path, or remove it`
}

function checkEntry({ source, route }: SourcedRoute, { settings, mistakes }: Checking): void {
  const { entry } = route
  if ((entry === 'jwt' || entry === 'any') && settings.jwt() === undefined)
    mistakes.push(`${source} lets in who has a JWT, and none can be verified: set ${JWT_KEYS}`)
}

function checkQueryKey(
  name: string,
  { rows, mistakes }: { rows: readonly SourcedRoute[]; mistakes: string[] },
): void {
  const named = rows.filter(({ route }) => route.name === name)
  const names = rows.map(({ route }) => route.name)
  if (named.length === 0)
    mistakes.push(
      `QUERY_API_KEYS names no route${suggest(name, names)}: proxy is that of INTERNAL_API_BASE_URL`,
    )
  for (const { source, route } of named)
    if (route.entry === 'jwt' || route.entry === 'open')
      mistakes.push(`QUERY_API_KEYS names ${name}, and ${source} takes no token at all: remove one of them`)
}

/** Adds the rows that have no provider to go to. */
export function checkRowProviders(
  rows: readonly SourcedRoute[],
  { providers, mistakes }: { providers: ReadonlyMap<string, Provider>; mistakes: string[] },
): void {
  for (const { source, route } of rows) {
    const { provider } = route
    if (provider === '' && providers.size === 0)
      mistakes.push(`${source} has no provider to go to: set a key, or name a URL`)
    if (provider && !providers.has(provider))
      mistakes.push(`${source} ${describeMissing(provider, new Set(providers.keys()))}`)
  }
}
