import { readBaseUrl } from '../base-url.ts'
import { SettingsError } from '../mistakes.ts'
import type { ApiName, CatalogSettings, Provider } from './catalog.ts'
import { formatPath, type ProviderEntry } from './models-schema.ts'
import { KNOWN_PROVIDERS } from './providers.ts'

interface Adding {
  entries: ReadonlyMap<string, ProviderEntry>
  settings: Pick<CatalogSettings, 'readKey'>
  mistakes: string[]
}

/** Adds the providers that a models file describes. */
export function addProviders(
  providers: Map<string, Provider>,
  { entries, settings, mistakes }: Adding,
): void {
  for (const [name, entry] of entries) {
    const path = `MODELS_FILE: ${formatPath(['providers', name])}`
    const known = KNOWN_PROVIDERS.find((row) => row.name === name)
    if (known) mistakes.push(`${path} is already the provider of ${known.keyVariable}: choose another name`)
    if (!/^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(name) || name === 'demo') {
      mistakes.push(`${path} needs another name: letters, digits, "-" and "_", and not "demo"`)
    }
    const key = readProviderKey(path, entry, { settings, mistakes })
    const insecure = entry.allowInsecure ? 'allowed' : 'add "allowInsecure: true"'
    const url = readBaseUrl(entry.baseUrl, { insecure })
    if ('mistake' in url) mistakes.push(`${path}.baseUrl ${url.mistake}`)
    const dialects: readonly ApiName[] = [entry.dialect ?? 'openai']
    const { origin, basePath } = 'mistake' in url ? { origin: '', basePath: '' } : url
    providers.set(name, { name, origin, basePath, key, dialects, usageOption: entry.usageOption ?? true })
  }
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
