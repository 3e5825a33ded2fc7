import type { SourcedRoute } from '../catalog/catalog.ts'
import type { ServiceRoute } from '../catalog/service-routes.ts'
import { readPassthroughRoute, readWebsocketRoute } from '../catalog/service-short-forms.ts'
import { readList } from '../lists.ts'
import { isPrivateHost } from '../private-host.ts'
import { type Environment, readText } from './secrets.ts'
import { type JwtSettings, readServiceSecrets } from './service-secrets.ts'
import { readServiceUrls } from './service-urls.ts'

/** What the environment says of services. */
export interface ServiceSettings {
  services: SourcedRoute[]
  /** Names of the rows whose callers may send a token as `?api_key=`. */
  queryKeyRoutes: string[]
  jwt(): JwtSettings | undefined
  internalKey(): string | undefined
}

interface Notes {
  mistakes: string[]
  warnings: string[]
}

/** The rows of every short form, and the secrets that services need. */
export function readServiceSettings(env: Environment, toleranceS: number, notes: Notes): ServiceSettings {
  const secrets = readServiceSecrets(env, toleranceS, notes)
  const { jwt, internalKey } = secrets
  const rows = <T extends string | object>(
    name: string,
    readEntry: (entry: string) => T | { mistake: string },
  ): T[] => {
    const { values, mistakes } = readList(name, readText(env, name), readEntry)
    notes.mistakes.push(...mistakes)
    return values
  }
  const ofPaths = (name: string, readEntry: typeof readPassthroughRoute): SourcedRoute[] =>
    rows(name, readEntry).map((route) => ({
      source: `${name} ${route.prefix}`,
      route: internalKey !== undefined && isInternal(route) ? { ...route, sendsInternalKey: true } : route,
    }))
  return {
    services: [
      ...readServiceUrls(env, secrets, notes),
      ...ofPaths('PASSTHROUGH_PATHS', readPassthroughRoute),
      ...ofPaths('WS_ROUTES', readWebsocketRoute),
    ],
    queryKeyRoutes: rows('QUERY_API_KEYS', readRouteName),
    jwt: () => jwt,
    internalKey: () => internalKey,
  }
}

/** A key that only the operator's own services know is nothing for somebody else's, to whom these forms may lead too. */
function isInternal({ targets }: ServiceRoute): boolean {
  return targets.length > 0 && targets.every(({ origin }) => isPrivateHost(new URL(origin).hostname))
}

function readRouteName(entry: string): string | { mistake: string } {
  if (/^\/?[A-Za-z0-9._~/-]+$/.test(entry)) return entry
  return { mistake: 'must be the name of a route, such as proxy' }
}
