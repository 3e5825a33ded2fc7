import { suggest } from '../suggest.ts'
import type { Provider, Timeouts } from './catalog.ts'
import { formatPath } from './file-shapes.ts'
import { isNameOf } from './model-name.ts'
import type { ModelEntry, ModelsFile } from './models-schema.ts'
import { isKnownProvider, KNOWN_PROVIDERS } from './providers.ts'

interface Checking {
  providers: ReadonlyMap<string, Provider>
  mistakes: string[]
}

/** Adds what is wrong between the entries of a well-formed models file: names that lead nowhere. */
export function checkModels(file: ModelsFile, { providers, mistakes }: Checking): void {
  const names = new Set([
    ...providers.keys(),
    ...[...file.providerNames].filter((name) => !isKnownProvider(name)),
  ])
  for (const [name, entry] of file.models) {
    const path = `MODELS_FILE: ${formatPath(['models', name])}`
    mistakes.push(
      ...findNameMistakes(path, name),
      ...findPlanMistakes(path, { name, entry, providers: names }),
      ...findFallbackMistakes(path, { name, entry, models: file.modelNames }),
    )
    if (name === '*' && entry.plan.some((step) => step.model !== undefined)) {
      mistakes.push(`${path}.plan must not rename: every other name passes unchanged`)
    }
  }
}

/** Adds times that are longer than the server, and whatever stands before it, lets a request live. */
export function checkTimeouts(file: ModelsFile, totalTimeoutMs: number, mistakes: string[]): void {
  const check = (keys: readonly string[], timeouts: Timeouts = {}): void => {
    for (const [name, ms] of Object.entries(timeouts)) {
      if (ms === undefined || ms <= totalTimeoutMs) continue
      const path = formatPath([...keys, 'timeouts', name])
      const why = `TOTAL_TIMEOUT_MS (${totalTimeoutMs}) is what any request may take: raise that as well`
      mistakes.push(`MODELS_FILE: ${path} must be at most ${totalTimeoutMs}: ${why}`)
    }
  }
  for (const [name, { timeouts }] of file.providers) check(['providers', name], timeouts)
  for (const [name, { timeouts }] of file.models) check(['models', name], timeouts)
}

function findNameMistakes(path: string, name: string): string[] {
  if (name === '*') return []
  if (name.split('*').length > 2) return [`${path} may have one "*", which stands for any letters`]
  if (name === '' || name.length > 200 || /[\s\p{C}]/u.test(name)) {
    return [`${path} must be a name of 1 to 200 characters without blanks`]
  }
  return []
}

function findPlanMistakes(
  path: string,
  { name, entry, providers }: Omit<Named, 'models'> & { providers: ReadonlySet<string> },
): string[] {
  return entry.plan.flatMap(({ provider, model }, index) => {
    const at = `${path}.plan[${index}]`
    const mistakes = providers.has(provider) ? [] : [`${at}.provider ${describeMissing(provider, providers)}`]
    if (model?.includes('*') && (!name.includes('*') || model.split('*').length > 2))
      mistakes.push(
        `${at}.model may have one "*", where the entry's own name has one: it stands for the same letters`,
      )
    return mistakes
  })
}

interface Named {
  name: string
  entry: ModelEntry
  models: ReadonlySet<string>
}

function findFallbackMistakes(path: string, { name, entry, models }: Named): string[] {
  return (entry.fallbacks ?? []).flatMap((fallback, index) => {
    const at = `${path}.fallbacks[${index}]`
    if (fallback === name) return [`${at} names the model itself: remove it`]
    if (fallback.includes('*')) return [`${at} must be a model's name, not ${JSON.stringify(fallback)}`]
    if (models.has(fallback)) return []
    // A name that clients could ask for too: a pattern or the wildcard serves it.
    if ([...models].some((each) => each.includes('*') && isNameOf(each, fallback)))
      return findNameMistakes(at, fallback)
    return [`${at} names no model of this file${suggest(fallback, models)}: add it under models`]
  })
}

/** In words that follow what names it. */
export function describeMissing(name: string, providers: ReadonlySet<string>): string {
  const known = KNOWN_PROVIDERS.find((row) => row.name === name)
  if (known) return `names ${name}, which has no key: set ${known.keyVariable} or ${known.keyVariable}_FILE`
  const names = [...providers, ...KNOWN_PROVIDERS.map((row) => row.name)]
  return `names no provider${suggest(name, names)}: add it under providers`
}
