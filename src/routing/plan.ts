import type { Catalog, Model, Price, Provider, Unit } from '../config/catalog/catalog.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import { modelNotAllowed, modelNotFound } from '../errors.ts'
import type { UsageKind } from '../metering/usage-kinds.ts'
import { isModelAllowed } from './access.ts'

/** One provider to ask, and what its answer costs. */
export interface Step {
  provider: Provider
  /** The provider's own name for the model. */
  upstreamModel: string
  /** The entry whose price applies, as it is for this endpoint: the asked model's or a fallback's. */
  model: Model
  /** Name in `ProviderHealth`. */
  health: string
}

export interface PlanRequest {
  catalog: Catalog
  /** The model's name as the client asked for it. */
  model: string
  /** What the token may use (empty: all). */
  allowed: readonly string[]
  /** What it speaks, and what is counted there. */
  endpoint: Pick<Endpoint, 'dialect' | 'kind'>
  /** Models that the request names besides, for tools that a provider runs. */
  besides: readonly string[]
}

/**
 * The providers to ask, best first: the model's plan, then its fallbacks' plans.
 * Throws `model_not_found` and `model_not_allowed`.
 */
export const planSteps = (ask: PlanRequest): Step[] => {
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
  throw modelNotFound(
    ask.endpoint.dialect === 'anthropic'
      ? 'No provider of this model speaks the Messages API; use /v1/chat/completions'
      : 'No provider of this model speaks the OpenAI API; use /v1/messages',
    { param: 'model' },
  )
}

/** What a request may cost whose model is not known yet: the prices of all that the token may ask for at this endpoint. */
export const pricesOf = ({ catalog, allowed, endpoint }: Omit<PlanRequest, 'model' | 'besides'>): Price[] => {
  const { models, wildcard } = catalog
  const known = [...models].filter(([name]) => isModelAllowed(allowed, name)).map(([, model]) => model)
  const all = wildcard ? [...known, wildcard] : known
  const speaks = (model: Model): boolean =>
    model.plan.some(({ provider }) => provider.dialects.includes(endpoint.dialect))
  return all.filter(speaks).map((model) => pricedFor(endpoint.kind, model).price)
}

/**
 * The wildcard serves no name that a provider may take for a listed one: `EXPENSIVE` or `expensive:nitro` would be had at
 * the wildcard's price, and past what a token may use.
 */
const find = (catalog: Catalog, name: string): Model | undefined =>
  catalog.models.get(name) ?? (catalog.wildcard && !catalog.looksListed(name) ? catalog.wildcard : undefined)

const UNITS: Partial<Record<UsageKind, Unit>> = {
  transcription: 'perSecond',
  speech: 'perCharacter',
  images: 'perImage',
}

const pricedFor = (kind: UsageKind, model: Model): Model => {
  const unit = UNITS[kind]
  if (!model.tokenPrice || (unit && model.tokenPrice.units.includes(unit))) return model
  return { ...model, price: model.tokenPrice.price }
}

const stepsOf = (found: Model, asked: string, { endpoint: { dialect, kind } }: PlanRequest): Step[] => {
  const model = pricedFor(kind, found)
  const steps: Step[] = []
  for (const { provider, model: own } of model.plan) {
    if (!provider.dialects.includes(dialect)) continue
    const upstreamModel = own ?? asked
    steps.push({ provider, upstreamModel, model, health: `${provider.name}/${upstreamModel}` })
  }
  return steps
}
