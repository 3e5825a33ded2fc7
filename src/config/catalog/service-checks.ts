import type { Provider, SourcedRoute } from './catalog.ts'
import { describeMissing } from './models-checks.ts'
import type { ServiceKind, ServiceRoute } from './service-routes.ts'

const KINDS: readonly ServiceKind[] = ['http', 'websocket']

/** Adds what is wrong between the rows of the table, wherever they come from. */
export function checkServices(
  rows: readonly SourcedRoute[],
  { providers, mistakes }: { providers: ReadonlyMap<string, Provider>; mistakes: string[] },
): void {
  const seen = new Map<string, SourcedRoute>()
  for (const row of rows) {
    checkProvider(row, { providers, mistakes })
    const before = kindsOf(row.route)
      .map((kind) => seen.get(keyOf(kind, row.route)))
      .find((found) => found !== undefined)
    if (before) mistakes.push(`${row.source} ${describeTwice(row, before)}`)
    for (const kind of kindsOf(row.route)) seen.set(keyOf(kind, row.route), row)
  }
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
    before.route.prefix === route.prefix ? 'is the path' : 'is but for the case of letters the path'
  return `${same} of ${before.source} too: give one of them another path, or remove it`
}

/** A row that has no provider to go to. */
function checkProvider(
  { source, route: { provider } }: SourcedRoute,
  { providers, mistakes }: { providers: ReadonlyMap<string, Provider>; mistakes: string[] },
): void {
  if (provider === undefined) return
  if (provider === '' && providers.size === 0)
    mistakes.push(`${source} has no provider to go to: set a key, or name a URL`)
  if (provider !== '' && !providers.has(provider))
    mistakes.push(`${source} ${describeMissing(provider, new Set(providers.keys()))}`)
}
