import { createRequire } from 'node:module'
import { errorText } from '../../errors.ts'
import { SettingsError } from '../mistakes.ts'
import { BUILTIN_MODELS } from './builtin-catalog.ts'
import { buildFindMaker } from './builtin-makers.ts'
import type { Catalog, CatalogSettings, Model, Provider, Timeouts } from './catalog.ts'
import { addProviders } from './file-providers.ts'
import { readFileServices } from './file-services.ts'
import { buildFind, buildLooks, hasPriceOf, isNameOf } from './model-name.ts'
import { checkModels, checkTimeouts } from './models-checks.ts'
import { type ModelEntry, type ModelsFile, readShape } from './models-schema.ts'
import { buildPrice, buildTokenPrice } from './prices.ts'
import { checkRowProviders, joinServices } from './service-checks.ts'
import type { ServiceTable } from './service-routes.ts'
import { buildServiceTable } from './service-table.ts'

/** What a catalog is made of: the settings, the models file's text if there is one, the demo provider if it is on. */
export interface CatalogInput {
  settings: CatalogSettings
  text?: string | undefined
  demo?: Provider | undefined
}

export const MAX_FILE_BYTES = 1_048_576
/** Some thousand models may merge the same entry; aliases that multiply are soon more. */
const MOST_ALIASES = 10_000
const DEFAULT_MAX_OUTPUT = 16_384
const DEMO_MAX_OUTPUT = 1024

/** Builds the catalog of everything that can be asked for, or throws one SettingsError with all mistakes. */
export function buildCatalog({ settings, text, demo }: CatalogInput): Catalog {
  const mistakes: string[] = []
  const file = text === undefined ? undefined : readFile(text, mistakes)
  const providers = new Map(settings.providers.map((provider) => [provider.name, provider]))
  if (demo) providers.set(demo.name, demo)
  if (file) addProviders(providers, { entries: file.providers, settings, mistakes })
  if (file) checkModels(file, { providers, mistakes })
  if (file) checkTimeouts(file, settings.totalTimeoutMs, mistakes)
  const rows = [...settings.services, ...(file ? readFileServices(file, { settings, mistakes }) : [])]
  // What is wrong with a provider is told once.
  if (mistakes.length === 0) checkRowProviders(rows, { providers, mistakes })
  const services = buildServiceTable(joinServices(rows, { settings, mistakes }))
  if (mistakes.length > 0) throw new SettingsError(mistakes)
  const isBuiltin = !file?.hasModels
  const entries = isBuiltin ? restrictBuiltin(settings.providers) : [...file.models]
  return assemble(entries, { providers, margin: file?.margin ?? 0, demo, services, isBuiltin })
}

/** Whether the offline demo provider answers: always, never, or while there is no real one. */
export function isDemoOn(settings: CatalogSettings, text?: string): boolean {
  if (settings.demo !== 'auto') return settings.demo === 'on'
  if (settings.providers.length > 0) return false
  const file = text === undefined ? undefined : readFile(text, [])
  return text === undefined || file?.providerNames.size === 0
}

function readFile(text: string, mistakes: string[]): ModelsFile | undefined {
  if (Buffer.byteLength(text) > MAX_FILE_BYTES) {
    mistakes.push('MODELS_FILE is larger than 1 MiB: keep only the models you serve')
    return undefined
  }
  // As ">" of an old PowerShell writes it.
  if (/^\uFFFD{2}|\0/.test(text)) {
    mistakes.push('MODELS_FILE is UTF-16 or no text at all: save it as UTF-8')
    return undefined
  }
  const found: string[] = []
  const content = parse(text.replace(/^\uFEFF/, ''), found)
  const file = content === undefined ? undefined : readShape(content, found)
  mistakes.push(...found.map((mistake) => `MODELS_FILE: ${mistake}`))
  return file
}

/** The parser is loaded only for those who have a models file: it would take a twentieth of every start. */
function loadYaml(): typeof import('yaml') {
  return createRequire(import.meta.url)('yaml')
}

function parse(text: string, mistakes: string[]): unknown {
  try {
    const { parseDocument } = loadYaml()
    const document = parseDocument(text, {
      schema: 'core',
      merge: true,
      stringKeys: true,
      logLevel: 'error',
    })
    // The first alone: after one broken bracket every further line looks wrong.
    const broken = document.errors[0]
    if (!broken) return document.toJS({ maxAliasCount: MOST_ALIASES })
    const [message = '', , line = ''] = broken.message.split('\n')
    // `paths: [/orders/{id}]`
    const isTemplate = message.includes('between flow') && line.includes('/{')
    mistakes.push(isTemplate ? `${message} put quotes around what holds "{"` : message || broken.code)
    return undefined
  } catch (error) {
    // Aliases that multiply, or nesting that outgrows the stack.
    const why = errorText(error)
    mistakes.push(`it cannot be read as YAML or JSON (${why})`)
    return undefined
  }
}

function restrictBuiltin(providers: readonly Provider[]): [string, ModelEntry][] {
  const names = new Set(providers.map((provider) => provider.name))
  const kept = BUILTIN_MODELS.flatMap(([name, entry]): [string, ModelEntry][] => {
    const plan = entry.plan.filter((step) => names.has(step.provider))
    return plan.length > 0 ? [[name, { ...entry, plan }]] : []
  })
  const served = new Set(kept.map(([name]) => name))
  const models = kept.map(([name, entry]): [string, ModelEntry] => [
    name,
    { ...entry, fallbacks: entry.fallbacks?.filter((fallback) => served.has(fallback)) ?? [] },
  ])
  const plan = providers.map(({ name }) => ({ provider: name }))
  return plan.length > 0 ? [...models, ['*', { plan }]] : models
}

interface Parts {
  providers: ReadonlyMap<string, Provider>
  margin: number
  demo: Provider | undefined
  services: ServiceTable
  isBuiltin: boolean
}

function assemble(
  entries: readonly [string, ModelEntry][],
  { providers, margin, demo, services, isBuiltin }: Parts,
): Catalog {
  const all = demo ? [demoEntry(demo), ...entries] : entries
  const built = all.map(([name, entry]) => buildModel(name, entry, { providers, margin }))
  const models = new Map(built.filter(({ name }) => !name.includes('*')).map((model) => [model.name, model]))
  const [patterns, wildcard] = openEntries(built, isBuiltin)
  const looksListed = buildLooks([
    ...models.keys(),
    ...dearNames(built, [...patterns, ...(wildcard ? [wildcard] : [])]),
  ])
  const findMaker = isBuiltin && wildcard ? buildFindMaker({ models, providers }, wildcard) : undefined
  const listed = { models, patterns, wildcard, looksListed }
  return {
    ...listed,
    find: buildFind({ ...listed, findMaker }),
    providers,
    services,
  }
}

/** What serves names that are not listed: patterns, the longest first, and the wildcard. */
function openEntries(built: readonly Model[], isBuiltin: boolean): [Model[], Model | undefined] {
  const patterns = built.filter(({ name }) => name.includes('*') && name !== '*')
  const wildcard = built.find(({ name }) => name === '*')
  return [
    patterns.toSorted((a, b) => b.name.length - a.name.length),
    // Without a file nobody said which providers know a name: only one is asked.
    isBuiltin && wildcard ? { ...wildcard, asksOnlyOne: true } : wildcard,
  ]
}

/**
 * What providers call the listed models: by that name a pattern or the wildcard would serve them at its own price. It may
 * where its price is theirs, and where the operator names one as a fallback without listing it.
 */
function dearNames(models: readonly Model[], open: readonly Model[]): string[] {
  const meant = new Set(models.flatMap(({ fallbacks }) => fallbacks))
  return models.flatMap((model) =>
    model.plan.flatMap(({ model: own }) => {
      if (own === undefined || own.includes('*') || meant.has(own)) return []
      const server = open.find(({ name }) => isNameOf(name, own))
      return server && server !== model && !hasPriceOf(model, server) ? own : []
    }),
  )
}

function demoEntry(demo: Provider): [string, ModelEntry] {
  return ['demo', { plan: [{ provider: demo.name }], maxOutput: DEMO_MAX_OUTPUT }]
}

function buildModel(
  name: string,
  entry: ModelEntry,
  { providers, margin }: Pick<Parts, 'providers' | 'margin'>,
): Model {
  const plan = entry.plan.flatMap(({ provider: asked, model }) => {
    const provider = providers.get(asked)
    return provider ? [{ provider, model, timeouts: joinTimeouts(provider.timeouts, entry.timeouts) }] : []
  })
  return {
    name,
    plan,
    price: buildPrice(entry.price, margin),
    tokenPrice: buildTokenPrice(entry.price, margin),
    maxOutput: entry.maxOutput ?? DEFAULT_MAX_OUTPUT,
    fallbacks: entry.fallbacks ?? [],
    retryAfterTimeout: entry.retryAfterTimeout ?? false,
  }
}

/** Those of the model count, and where it names none the provider's; undefined: nothing but the settings does. */
function joinTimeouts(ofProvider: Timeouts | undefined, ofModel: Timeouts | undefined): Timeouts | undefined {
  return ofProvider && ofModel ? { ...ofProvider, ...ofModel } : (ofModel ?? ofProvider)
}
