import type { Catalog, Model, Price, Provider } from '../config/catalog/catalog.ts'
import { isNameOf } from '../config/catalog/model-name.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { type GatewayError, modelNotAllowed, modelNotFound } from '../errors.ts'
import { type Failure, isModelMissing, judgeFailures } from './failover.ts'
import type { ProviderHealth, RetryBudget } from './health.ts'

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
  const { catalog } = ask
  const model = catalog.find(ask.model)
  const isAllowed = (name: string): boolean => isModelAllowed(ask.allowed, name)
  // Who may use a listed model may use its versions, and its name at OpenRouter.
  const mayUse = (name: string): boolean => isAllowed(name) || isListedAllowed(catalog, name, isAllowed)
  if (!mayUse(ask.model) || !ask.besides.every(mayUse)) {
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
    if (name === ask.model || !mayUse(name)) continue
    const fallback = catalog.find(name)
    if (fallback) steps.push(...stepsOf(fallback, name, ask))
  }
  if (steps.length > 0) return steps
  throw modelNotFound(ask.dialect.unspokenText, { param: 'model' })
}

/** What a request may cost whose model is not known yet: the prices of all that the token may ask for at this endpoint. */
export function pricesOf({ catalog, allowed, dialect }: Omit<PlanRequest, 'model' | 'besides'>): Price[] {
  const { models, patterns, wildcard } = catalog
  const known = [...models].filter(([name]) => isModelAllowed(allowed, name)).map(([, model]) => model)
  const all = [...known, ...patterns, ...(wildcard ? [wildcard] : [])]
  const speaks = (model: Model): boolean => model.plan.some(({ provider }) => dialect.isSpokenBy(provider))
  return all.filter(speaks).map((model) => pricedFor(dialect, model).price)
}

function isListedAllowed(
  { models, find }: Catalog,
  name: string,
  isAllowed: (name: string) => boolean,
): boolean {
  const found = find(name)?.name
  return found !== undefined && models.has(found) && isAllowed(found)
}

function pricedFor({ unit }: Dialect, model: Model): Model {
  if (!model.tokenPrice || (unit && model.tokenPrice.units.includes(unit))) return model
  return { ...model, price: model.tokenPrice.price }
}

function stepsOf(found: Model, asked: string, { dialect }: PlanRequest): Step[] {
  const model = pricedFor(dialect, found)
  const steps: Step[] = []
  for (const { provider, model: own } of model.plan) {
    if (!dialect.isSpokenBy(provider)) continue
    const upstreamModel = own ?? asked
    steps.push({ provider, upstreamModel, model, dialect, key: `${provider.name}/${upstreamModel}` })
    if (model.asksOnlyOne) break
  }
  return steps
}

/** Whether a token limited to these names and patterns (`gpt-*`; none: no limit) may use the model. */
export function isModelAllowed(patterns: readonly string[], model: string): boolean {
  return patterns.length === 0 || patterns.some((pattern) => isNameOf(pattern, model))
}

/** What the walks of one app share. */
export interface WalkShared {
  health: ProviderHealth
  /** Which models a provider does not know, by provider, model and endpoint. */
  missingModels: ProviderHealth
  budget: RetryBudget
  now(): number
  /** It is told of every ask that came to nothing. */
  providerFailed(provider: string, reason: string): void
}

/** One request's way through its plan: who is asked next, what came of it, and the error that stands for it all. */
export class PlanWalk {
  readonly #steps: readonly Step[]
  readonly #endpoint: string
  readonly #shared: WalkShared
  // Copied when they grow: nearly every walk is one ask long, and an array that grows in place reserves far more.
  #failures: readonly Failure[] = []
  #asked: readonly Step[] = []
  #next = 0

  constructor(steps: readonly Step[], endpoint: string, shared: WalkShared) {
    this.#steps = steps
    this.#endpoint = endpoint
    this.#shared = shared
  }

  /** The next step that does not rest; where nobody else can be asked, the first that did not know the model. */
  next(): Step | undefined {
    const now = this.#shared.now()
    while (this.#next < this.#steps.length) {
      const step = this.#steps[this.#next]
      this.#next += 1
      if (step && !this.#isResting(step, now) && this.#isAffordable(step, now)) return step
    }
    // It may have learnt the model, and only a provider's own word makes a 404.
    if (this.#asked.length > 0) return undefined
    return this.#steps.find((step) => !this.#shared.health.isResting(step.key, now))
  }

  /** Right before the ask, for it may take the one probe of a provider; false: no further retry may be made. */
  mayAsk(step: Step): boolean {
    const { health, missingModels, budget, now } = this.#shared
    if (this.#asked.length > 0 && !budget.spend()) return false
    this.#asked = [...this.#asked, step]
    health.admit(step.key, now())
    missingModels.admit(this.#nameOf(step), now())
    return true
  }

  succeeded(step: Step): void {
    this.#shared.health.succeeded(step.key)
    this.#shared.missingModels.succeeded(this.#nameOf(step))
  }

  note(step: Step, failure: Failure): void {
    const { health, missingModels, now, providerFailed } = this.#shared
    this.#failures = [...this.#failures, failure]
    // It would rest for everybody else.
    if (failure.kind === 'own') return
    providerFailed(step.provider.name, failure.reason)
    if (isModelMissing(failure)) missingModels.failed(this.#nameOf(step), now())
    else health.failed(step.key, now(), failure.retryAfterMs)
  }

  verdict(model: string): GatewayError {
    const { health, missingModels } = this.#shared
    const now = this.#shared.now()
    const isOpen = (step: Step) =>
      !this.#asked.includes(step) && !missingModels.isResting(this.#nameOf(step), now)
    return judgeFailures(model, {
      failures: this.#failures,
      restsMs: this.#steps.map((step) => health.restsFor(step.key, now)),
      neverAsked: this.#steps.filter(isOpen).length,
    })
  }

  /** A provider that has the model may lack one endpoint: the others are not concerned. */
  #nameOf(step: Step): string {
    return `${step.key} ${this.#endpoint}`
  }

  #isResting(step: Step, now: number): boolean {
    const { health, missingModels } = this.#shared
    return health.isResting(step.key, now) || missingModels.isResting(this.#nameOf(step), now)
  }

  /** A probe that fails costs a retry: while there is none, requests go to whoever is well. */
  #isAffordable(step: Step, now: number): boolean {
    const { health, missingModels, budget } = this.#shared
    const isDue = (one: Step) => health.isDue(one.key, now) || missingModels.isDue(this.#nameOf(one), now)
    if (budget.hasLeft() || !isDue(step)) return true
    return !this.#steps.slice(this.#next).some((next) => !this.#isResting(next, now) && !isDue(next))
  }
}
