import type { Catalog, Model, PlanStep, Provider } from './catalog.ts'
import { findVersion, renamed, withoutDate } from './model-name.ts'

/** Who makes the models of a family of names. */
interface Family {
  names: RegExp
  /** The maker itself first. */
  providers: readonly string[]
  /** What stands before its names in slugs (`vendor/model`); OpenRouter's word first. */
  vendors: readonly [string, ...string[]]
}

const FAMILIES: readonly Family[] = [
  { names: /^claude-/, providers: ['anthropic'], vendors: ['anthropic'] },
  { names: /^(?:gemini|gemma|imagen|veo)-/, providers: ['gemini'], vendors: ['google', 'gemini'] },
  { names: /^grok-/, providers: ['xai'], vendors: ['x-ai', 'xai'] },
  { names: /^deepseek-/, providers: ['deepseek'], vendors: ['deepseek'] },
  {
    names: /^(?:open-)?(?:mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)-/,
    providers: ['mistral'],
    vendors: ['mistralai', 'mistral'],
  },
  {
    // OpenAI sells no `gpt-oss`: others run it.
    names:
      /^(?:gpt-(?!oss)|chatgpt-|o\d(?:-|$)|codex-|text-embedding-|omni-moderation-|text-moderation-|dall-e-|tts-|whisper-)/,
    providers: ['openai_original', 'openai', 'aiguoguo'],
    vendors: ['openai'],
  },
]
const ROUTER = 'openrouter'
/** They run what others made, under slugs. */
const HOSTS: readonly string[] = [ROUTER, 'groq']
const SLUG = /^([^/:]+)\/([^/]+)$/

type Known = Pick<Catalog, 'models' | 'providers'>

/**
 * Who serves names that the built-in catalog does not list: the maker, where it has a key, then OpenRouter; slugs go to
 * the listed model that they name, to their maker, or to whoever has such names.
 */
export function buildFindMaker(
  { models, providers }: Known,
  usual: Model,
): (name: string) => Model | undefined {
  const known = { models, providers }
  const serve = (plan: readonly PlanStep[]): Model | undefined =>
    plan.length > 0 ? { ...usual, plan, asksOnlyOne: false } : undefined
  return (name) => {
    const [, vendor, bare] = SLUG.exec(name) ?? []
    if (vendor !== undefined && bare !== undefined) return findSlug(known, { name, vendor, bare }, serve)
    const family = FAMILIES.find(({ names }) => names.test(name))
    if (!family) return undefined
    const listed = models.get(dashed(name))
    return listed ? renamed(listed, (own = listed.name) => own) : serve(stepsOf(providers, family, name))
  }
}

interface Slug {
  name: string
  vendor: string
  bare: string
}

function findSlug(
  { models, providers }: Known,
  { name, vendor, bare }: Slug,
  serve: (plan: readonly PlanStep[]) => Model | undefined,
): Model | undefined {
  const family = FAMILIES.find(({ names, vendors }) => vendors.includes(vendor) && names.test(bare))
  // OpenRouter's variants (`:free`) are names of its own.
  if (!family || bare.includes(':')) return serve(stepsAt(providers, HOSTS, name))
  const slug = `${family.vendors[0]}/${bare}`
  const listed = models.get(bare) ?? findVersion(models, bare) ?? models.get(dashed(bare))
  if (listed) {
    const direct = listed.name === dashed(bare) ? listed.name : bare
    return renamed(listed, (own, provider) => (provider === ROUTER ? slug : (own ?? direct)))
  }
  return serve([...stepsAt(providers, family.providers, bare), ...stepsAt(providers, [ROUTER], slug)])
}

function stepsOf(providers: Known['providers'], family: Family, name: string): PlanStep[] {
  const slug = `${family.vendors[0]}/${dotted(withoutDate(name))}`
  return [...stepsAt(providers, family.providers, name), ...stepsAt(providers, [ROUTER], slug)]
}

function stepsAt(
  providers: ReadonlyMap<string, Provider>,
  names: readonly string[],
  model: string,
): PlanStep[] {
  return names.flatMap((name) => {
    const provider = providers.get(name)
    return provider ? [{ provider, model }] : []
  })
}

/** Anthropic writes versions with "-", OpenRouter with ".". */
function dashed(name: string): string {
  return name.startsWith('claude-') ? name.replace(/(\d)\.(\d)/, '$1-$2') : name
}
function dotted(name: string): string {
  return name.startsWith('claude-') ? name.replace(/-(\d+)-(\d{1,2})(?=-|$)/, '-$1.$2') : name
}
