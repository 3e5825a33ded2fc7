import { isDeepStrictEqual } from 'node:util'
import type { Catalog, Model } from './catalog.ts'

const MAX_LENGTH = 256
const PLAIN = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/
/** Controls, halves of letters, line ends, and what nobody sees. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u

/** What `isModelName` wants, for refusals. */
export const MODEL_NAME = `a string of at most ${MAX_LENGTH} printable characters, without blanks at its ends`

/**
 * Whether a client may name a model so. Names are compared exactly, letter by letter; what another reader could trim,
 * drop or compose before it compares is no name, for it would find another model than the one that was looked up here.
 */
export function isModelName(name: string): boolean {
  return (
    name.length <= MAX_LENGTH &&
    (PLAIN.test(name) || (!UNPRINTABLE.test(name) && name === name.trim() && name === name.normalize('NFC')))
  )
}

/** Whether a name is this one, or one of this pattern (`gpt-*`). */
export function isNameOf(pattern: string, name: string): boolean {
  const star = pattern.indexOf('*')
  if (star === -1) return pattern === name
  const head = pattern.slice(0, star)
  const tail = pattern.slice(star + 1)
  return name.length >= head.length + tail.length && name.startsWith(head) && name.endsWith(tail)
}

/**
 * OpenRouter's variants and Hugging Face's choices, the same model on other hosts or with a search of the web: one of them
 * makes the last part of a name, itself or another, such a part.
 */
const VARIANT =
  /:(?:free|floor|nitro|online|exacto|extended|thinking|beta|auto|web|fastest|cheapest|preferred)(?=:|$)/
const LAST_PART = /:[^:]*$/
const PRESET = /@preset\/.*$/
/** Behind `maker/model` a word is the name of a host (`:groq`, `:fireworks-ai`), sixty-four digits are Replicate's version. */
const HOST = /(?<=\/[^:]*):(?:[a-z][a-z-]*|[0-9a-f]{64})$/
/** Ollama reads `llama3` as `llama3:latest`, Gemini `gemini-pro` as `models/gemini-pro`; many drop slashes at the ends. */
const IMPLIED = /^\/?models\/|^\/|\/$|:latest$/g

/** Whether a provider may take a name that is not among these for one that is. */
export function buildLooks(listed: readonly string[]): (name: string) => boolean {
  const looks = new Set(listed.map(lookOf))
  return (name) => looksOf(name).some((look) => looks.has(look))
}

/** Whether a provider may take a name for one of this pattern. */
function looksLikePattern(pattern: string, name: string): boolean {
  const [head = '', tail = ''] = pattern.split('*')
  const folded = `${fold(head)}*${fold(tail)}`
  return isNameOf(folded, fold(name)) || looksOf(name).some((look) => isNameOf(folded, look))
}

/** A name as a provider may read it that does not tell case, width or blanks apart, without what goes without saying. */
function lookOf(name: string): string {
  return fold(name).replace(IMPLIED, '')
}

function fold(text: string): string {
  return text.normalize('NFKC').toUpperCase().toLowerCase().replace(/\s+/gu, '').replace(/\/+/g, '/')
}

/**
 * What a provider may take a name for: its look, and that without one variant after the other. Only for names that are
 * not listed: what the operator lists is told apart.
 */
function looksOf(name: string): string[] {
  const looks = [lookOf(name)]
  for (let look = looks[0] ?? ''; ; ) {
    const shorter = lookOf(withoutVariant(look))
    if (shorter.length >= look.length) return looks
    looks.push(shorter)
    look = shorter
  }
}

function withoutVariant(look: string): string {
  if (PRESET.test(look)) return look.replace(PRESET, '')
  return look.replace(VARIANT.test(look) ? LAST_PART : HOST, '')
}

/** What an entry of the catalog is found by. */
export interface Entries extends Pick<Catalog, 'models' | 'patterns' | 'wildcard' | 'looksListed'> {
  /** Who makes a model of this name that is not listed, where the operator wrote no file. */
  findMaker?: ((name: string) => Model | undefined) | undefined
}

/** Clients choose the names: so many that are not listed are remembered, the oldest is forgotten first. */
const MOST_REMEMBERED = 1_000

/** `-20251001`, `-2024-08-06`, `@20250929`, `-2411` (year and month), `-0613` (month and day), `-preview-05-20`. */
const DATE =
  /(?:[-@]20\d\d(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))|-2\d(?:0[1-9]|1[0-2])|-(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|-preview-\d\d-(?:20)?\d\d)$/
const LATEST = /-latest$/

/**
 * The catalog's `find`: the listed name; a version of a listed one, or the longest pattern, whichever says more of the
 * name; its maker; the wildcard. What was found for a name that is not listed is remembered.
 */
export function buildFind(entries: Entries): Catalog['find'] {
  const remembered = new Map<string, Model | undefined>()
  return (name) => {
    const listed = entries.models.get(name)
    if (listed) return listed
    const known = remembered.get(name)
    if (known || remembered.has(name)) return known
    const found = findUnlisted(entries, name)
    if (remembered.size >= MOST_REMEMBERED) {
      for (const oldest of remembered.keys()) {
        remembered.delete(oldest)
        break
      }
    }
    remembered.set(name, found)
    return found
  }
}

function findUnlisted(entries: Entries, name: string): Model | undefined {
  const version = findVersion(entries.models, name)
  const looksLike = version ? entries.looksListed(name) : looksLikeVersion(entries, name)
  const pattern = looksLike ? undefined : findPattern(entries, name)
  if (version && !(pattern && pattern.name.length - 1 > version.name.length)) return version
  // A provider may take it for what is listed, or of a pattern.
  if (looksLike || pattern === null) return undefined
  return pattern ?? entries.findMaker?.(name) ?? entries.wildcard
}

/** Dates, "-latest" and variants make no other model of a name that looks listed, however they are mixed. */
function looksLikeVersion({ looksListed }: Pick<Entries, 'looksListed'>, name: string): boolean {
  const looks = versionsOf(name)
  if (looks.length > MOST_LOOKS) return true
  return looks.some((look) => looksListed(look) || looksListed(`${look}-latest`))
}

/** No name has as many: to look through all would be a scanner's pleasure. */
const MOST_LOOKS = 10

/** What a provider may take a name for, with one more of date, "-latest" and variant left out each time. */
function versionsOf(name: string): string[] {
  const looks = [name, lookOf(name)]
  for (let look = lookOf(name); ; ) {
    const undated = withoutDate(look).replace(LATEST, '')
    const shorter = undated === look ? lookOf(withoutVariant(look)) : undated
    if (shorter.length >= look.length || looks.length > MOST_LOOKS) return looks
    looks.push(shorter)
    look = shorter
  }
}

/** The listed model that a dated name, a `-latest` one or a bare one in place of a listed `-latest` stands for. */
export function findVersion(models: Catalog['models'], name: string): Model | undefined {
  const dated = withoutDate(name)
  // A date is the provider's own: who asks for that version gets it.
  if (dated !== name) return models.get(dated) ?? models.get(`${dated}-latest`)
  const model = models.get(name.replace(LATEST, '')) ?? models.get(`${name}-latest`)
  return model && renamed(model, (own = model.name) => own)
}

/** The longest that fits; null: a provider may take the name for one of a longer pattern, or for what is listed. */
function findPattern(
  { patterns, models }: Pick<Entries, 'patterns' | 'models'>,
  name: string,
): Model | undefined | null {
  for (const model of patterns) {
    if (isNameOf(model.name, name)) {
      const served = unstarred(model, name)
      return isListedOtherwise(models, model, served) && !findVersion(models, name) ? null : served
    }
    if (looksLikePattern(model.name, name)) return null
  }
  return undefined
}

/** Whether a pattern's star made a provider's name of a listed model, which has another price. */
function isListedOtherwise(models: Catalog['models'], pattern: Model, served: Model): boolean {
  if (pattern === served) return false
  const others = [...models.values()].filter((model) => !hasPriceOf(model, served))
  return served.plan.some(({ provider, model: own }, index) => {
    if (own === undefined || own === pattern.plan[index]?.model) return false
    const there = others.flatMap(({ name, plan }) =>
      plan.flatMap((step) => (step.provider.name === provider.name ? [step.model ?? name] : [])),
    )
    return looksLikeVersion({ looksListed: buildLooks(there) }, own)
  })
}

export function hasPriceOf(model: Model, other: Model): boolean {
  return isDeepStrictEqual([model.price, model.tokenPrice], [other.price, other.tokenPrice])
}

/** A star in a provider's name for the model stands for what the pattern's star stands for. */
function unstarred(model: Model, name: string): Model {
  if (!model.plan.some((step) => step.model?.includes('*'))) return model
  const { length } = model.name
  const star = model.name.indexOf('*')
  const rest = name.slice(star, name.length - (length - star - 1))
  return renamed(model, (own) => own?.replace('*', () => rest))
}

/** The same model, under other names at its providers. */
export function renamed(
  model: Model,
  rename: (own: string | undefined, provider: string) => string | undefined,
): Model {
  const plan = model.plan.map(({ provider, model: own }) => ({ provider, model: rename(own, provider.name) }))
  return { ...model, plan }
}

/** How the operator calls a model that a client has named: listed, by a pattern, `*` for all else; empty: it is not served. */
export function operatorsName({ find, models, patterns }: Catalog, model: string): string {
  const name = find(model)?.name
  if (name === undefined) return ''
  return models.has(name) || patterns.some((pattern) => pattern.name === name) ? name : '*'
}

export function withoutDate(name: string): string {
  return name.replace(DATE, '')
}
