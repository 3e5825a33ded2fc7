import { type BaseUrl, readBaseUrl } from '../base-url.ts'
import { SettingsError } from '../mistakes.ts'
import { usualPath, withoutEndpoint } from './address.ts'
import type { ApiName, CatalogSettings, Provider } from './catalog.ts'
import { formatPath } from './file-shapes.ts'
import type { ProviderEntry } from './models-schema.ts'
import { KNOWN_PROVIDERS } from './providers.ts'

interface Adding {
  entries: ReadonlyMap<string, ProviderEntry>
  settings: Pick<CatalogSettings, 'readKey'>
  mistakes: string[]
}

/** Adds the providers that a models file describes, and what it says of those that the settings have. */
export function addProviders(
  providers: Map<string, Provider>,
  { entries, settings, mistakes }: Adding,
): void {
  for (const [name, entry] of entries) {
    const path = `MODELS_FILE: ${formatPath(['providers', name])}`
    const known = KNOWN_PROVIDERS.find((row) => row.name === name)
    if (known && isTimeoutsAlone(entry)) {
      const found = providers.get(name)
      if (found) providers.set(name, { ...found, timeouts: entry.timeouts })
      continue
    }
    if (known) {
      const more = 'choose another name, or say nothing but "timeouts" of it'
      mistakes.push(`${path} is already the provider of ${known.keyVariable}: ${more}`)
    }
    if (!/^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(name) || name === 'demo') {
      mistakes.push(`${path} needs another name: letters, digits, "-" and "_", and not "demo"`)
    }
    const key = readProviderKey(path, entry, { settings, mistakes })
    const insecure = entry.allowInsecure ? 'allowed' : 'add "allowInsecure: true"'
    const url = readBaseUrl(entry.baseUrl ?? '', { insecure })
    const mistake = 'mistake' in url ? url.mistake : findPathMistake(url)
    if (mistake !== undefined && !known) mistakes.push(`${path}.baseUrl ${mistake}`)
    const dialects: readonly ApiName[] = [entry.dialect ?? 'openai']
    const { origin, basePath } = 'mistake' in url ? { origin: '', basePath: '' } : url
    const { usageOption = true, timeouts } = entry
    providers.set(name, { name, origin, basePath, key, dialects, usageOption, timeouts })
  }
}

/** Such an address would be 404 for every request. */
function findPathMistake({ origin, basePath }: BaseUrl): string | undefined {
  const path = withoutEndpoint(basePath)
  const usual = usualPath(origin) ?? ''
  if (path !== basePath)
    return `ends with an endpoint, which each request adds: write ${origin}${path || usual}`
  return path === '' && usual !== '' ? `has no path: write ${origin}${usual}` : undefined
}

function isTimeoutsAlone(entry: ProviderEntry): boolean {
  return Object.keys(entry).every((name) => name === 'timeouts')
}

function readProviderKey(
  path: string,
  { keyEnv }: ProviderEntry,
  { settings, mistakes }: Pick<Adding, 'settings' | 'mistakes'>,
): string | undefined {
  if (keyEnv === undefined) return undefined
  if (keyEnv === 'ADMIN_FIRST') {
    mistakes.push(`${path}.keyEnv would send the master token to a provider: name the provider's own key`)
    return undefined
  }
  try {
    const key = settings.readKey(keyEnv)
    if (key === undefined) mistakes.push(`${path}.keyEnv: set ${keyEnv} or ${keyEnv}_FILE`)
    return key
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    mistakes.push(...error.mistakes.map((mistake) => `${path}.keyEnv: ${mistake}`))
    return undefined
  }
}
