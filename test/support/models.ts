import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Owner } from './waiting.ts'

/** One provider of the models file; its key is read from the environment variable `keyEnv`. */
export interface ProviderEntry {
  baseUrl: string
  keyEnv?: string
  dialect?: 'openai' | 'anthropic'
  allowInsecure?: boolean
  usageOption?: boolean
}

export interface ModelsShape {
  margin?: number
  /** The providers by name; a bare URL gets the key variable `<NAME>_TEST_KEY`. */
  providers: Record<string, string | ProviderEntry>
  /** The models as in the file; a bare provider name (or several, in order) is short for its plan. */
  models: Record<string, string | string[] | object>
  /** The routes of services by their prefixes, as in the file. */
  services?: Record<string, object>
}

/** The variable that holds a provider's key when the test names none. */
export function keyVariable(provider: string): string {
  return `${provider.toUpperCase()}_TEST_KEY`
}

/** A key for each provider of the file, for `startGateway({ env })`. */
export function providerKeys(...providers: string[]): Record<string, string> {
  return Object.fromEntries(providers.map((name) => [keyVariable(name), `key-of-${name}`]))
}

/** Writes a models file into a folder of its own, removed with the test. */
export function modelsFile(t: Owner, shape: ModelsShape): string {
  const folder = mkdtempSync(join(tmpdir(), 'gw-models-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'models.yaml')
  writeFileSync(path, modelsText(shape))
  return path
}

/** The text of a models file, for tests that change one while the gateway runs. */
export function modelsText({ margin, providers, models, services }: ModelsShape): string {
  const provider = ([name, entry]: [string, string | ProviderEntry]) => [
    name,
    typeof entry === 'string' ? { baseUrl: entry, keyEnv: keyVariable(name) } : entry,
  ]
  const model = ([name, entry]: [string, string | string[] | object]) => [name, withPlan(entry)]
  return stringify({
    ...(margin === undefined ? {} : { margin }),
    ...(services === undefined ? {} : { services }),
    providers: Object.fromEntries(Object.entries(providers).map(provider)),
    models: Object.fromEntries(Object.entries(models).map(model)),
  })
}

function withPlan(entry: string | string[] | object): object {
  if (typeof entry === 'string') return { plan: [{ provider: entry }] }
  if (!Array.isArray(entry)) return entry
  return { plan: entry.map((provider) => ({ provider })) }
}
