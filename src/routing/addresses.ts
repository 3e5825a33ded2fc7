import type { Provider } from '../config/catalog/catalog.ts'
import { KNOWN_PROVIDERS } from '../config/catalog/providers.ts'

/**
 * Whether the base URLs of providers are right, as far as anybody knows; one per app. A provider that answers at any
 * endpoint has a right one: what it does not know beside it is an endpoint that it lacks.
 */
export class ProviderAddresses {
  /** Other settings are other objects. */
  readonly proven = new WeakSet<Provider>()
  readonly #told = new WeakMap<Provider, Set<string>>()

  isProven(provider: Provider): boolean {
    return this.proven.has(provider) || isBuiltIn(provider)
  }

  /** Whether the operator was not told of this path before. */
  isNews(provider: Provider, path: string): boolean {
    const told = this.#told.get(provider) ?? new Set()
    if (told.has(path)) return false
    this.#told.set(provider, told.add(path))
    return true
  }
}

function isBuiltIn({ name, origin, basePath }: Provider): boolean {
  return KNOWN_PROVIDERS.some((known) => known.name === name && known.baseUrl === origin + basePath)
}
