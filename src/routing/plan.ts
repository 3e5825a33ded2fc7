import type { Catalog, Model, Price, Provider, Timeouts } from '../config/catalog/catalog.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { modelNotAllowed, modelNotFound } from '../errors.ts'

/** One provider to ask, and what its answer costs. */
export interface Step {
  provider: Provider
  /** The provider's own name for the model. */
  upstreamModel: string
  /** The entry whose price applies, as it is for this endpoint: the asked model's or a fallback's. */
  model: Model
  /** The wire format that it is asked in. */
  dialect: Dialect
  /** Its name in `ProviderHealth`. */
  key: string
  /** How long this provider may take for this model; undefined: as long as any. */
  timeouts?: Timeouts | undefined
}

export interface PlanRequest {
  catalog: Catalog
  /** The model's name as the client asked for it. */
  model: string
  /** What the token may use (empty: all). */
  allowed: readonly string[]
  /** What is spoken at the endpoint that it came to. */
  dialect: Dialect
  /** Models that the request names besides, for tools that a provider runs. */
  besides: readonly string[]
}

/**
 * The providers to ask, best first: the model's plan, then its fallbacks' plans.
 * Throws `model_not_found` and `model_not_allowed`.
 */
export function planSteps(ask: PlanRequest): Step[] {
  const model = find(ask.catalog, ask.model)
  const isAllowed = (name: string): boolean => isModelAllowed(ask.allowed, name)
  if (!isAllowed(ask.model) || !ask.besides.every(isAllowed)) {
    throw modelNotAllowed('Your token may not use this model; GET /v1/models lists what it may use', {
      param: 'model',
    })
  }
  if (!model) {
    throw modelNotFound(
      'This model does not exist here under exactly this name; GET /v1/models lists what your token may use',
      { param: 'model' },
    )
  }
  const steps = stepsOf(model, ask.model, ask)
  for (const name of model.fallbacks) {
    // The asked model can be among its own fallbacks through the wildcard.
    if (name === ask.model || !isAllowed(name)) continue
    const fallback = find(ask.catalog, name)
    if (fallback) steps.push(...stepsOf(fallback, name, ask))
  }
  if (steps.length > 0) return steps
  throw modelNotFound(ask.dialect.unspokenText, { param: 'model' })
}

/** What a request may cost whose model is not known yet: the prices of all that the token may ask for at this endpoint. */
export function pricesOf({ catalog, allowed, dialect }: Omit<PlanRequest, 'model' | 'besides'>): Price[] {
  const { models, wildcard } = catalog
  const known = [...models].filter(([name]) => isModelAllowed(allowed, name)).map(([, model]) => model)
  const all = wildcard ? [...known, wildcard] : known
  const speaks = (model: Model): boolean => model.plan.some(({ provider }) => dialect.isSpokenBy(provider))
  return all.filter(speaks).map((model) => pricedFor(dialect, model).price)
}

/**
 * The wildcard serves no name that a provider may take for a listed one: `EXPENSIVE` or `expensive:nitro` would be had at
 * the wildcard's price, and past what a token may use.
 */
function find(catalog: Catalog, name: string): Model | undefined {
  return (
    catalog.models.get(name) ??
    (catalog.wildcard && !catalog.looksListed(name) ? catalog.wildcard : undefined)
  )
}

function pricedFor({ unit }: Dialect, model: Model): Model {
  if (!model.tokenPrice || (unit && model.tokenPrice.units.includes(unit))) return model
  return { ...model, price: model.tokenPrice.price }
}

function stepsOf(found: Model, asked: string, { dialect }: PlanRequest): Step[] {
  const model = pricedFor(dialect, found)
  const steps: Step[] = []
  for (const { provider, model: own, timeouts } of model.plan) {
    if (!dialect.isSpokenBy(provider)) continue
    const upstreamModel = own ?? asked
    steps.push({
      provider,
      upstreamModel,
      model,
      dialect,
      key: `${provider.name}/${upstreamModel}`,
      timeouts,
    })
  }
  return steps
}

/** Whether a token limited to these names and patterns (`gpt-*`; none: no limit) may use the model. */
export function isModelAllowed(patterns: readonly string[], model: string): boolean {
  return patterns.length === 0 || patterns.some((pattern) => matches(pattern, model))
}

function matches(pattern: string, model: string): boolean {
  const star = pattern.indexOf('*')
  if (star === -1) return pattern === model
  const head = pattern.slice(0, star)
  const tail = pattern.slice(star + 1)
  return model.length >= head.length + tail.length && model.startsWith(head) && model.endsWith(tail)
}
