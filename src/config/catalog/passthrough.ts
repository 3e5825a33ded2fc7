import type { ServiceRoute } from './service-routes.ts'

/** A path that goes out unmetered, with all below it: to a provider, to a URL, or to the first provider. */
export interface Passthrough {
  prefix: string
  provider?: string | undefined
  url?: string | undefined
}

/** Rows of the table in the form that `src/services/passthrough.ts` still reads. */
export function passthroughOf(routes: readonly ServiceRoute[]): Passthrough[] {
  return routes.flatMap(({ prefix, serves, provider, targets: [target] }): Passthrough[] => {
    if (serves !== 'http') return []
    if (provider !== undefined) return [provider === '' ? { prefix } : { prefix, provider }]
    return target ? [{ prefix, url: target.origin + target.basePath }] : []
  })
}
