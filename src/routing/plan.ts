import type { Catalog, Model, Price, Provider, Timeouts } from '../config/catalog/catalog.ts'
import { isNameOf } from '../config/catalog/model-name.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { type GatewayError, modelNotAllowed, modelNotFound } from '../errors.ts'
import type { ProviderAddresses } from './addresses.ts'
import { type Failure, isExhausted, isModelMissing, judgeFailures } from './failover.ts'
import type { Asker, ProviderHealth } from './health.ts'

/** No rest is as long: who does not know the model is asked after all who rest. */
const LAST_OF_ALL_MS = 1_000_000_000

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
  for (const { provider, model: own, timeouts } of model.plan) {
    if (!dialect.isSpokenBy(provider)) continue
    const upstreamModel = own ?? asked
    const key = `${provider.name}/${upstreamModel}`
    steps.push({ provider, upstreamModel, model, dialect, key, timeouts })
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
  now(): number
  /** It is told of every ask that came to nothing. */
  providerFailed(provider: string, reason: string): void
  addresses: ProviderAddresses
  /** A provider refused our key. */
  keyRefused?(provider: Provider): void
}

/** Whose request it is, and where it may go. */
export interface Walk {
  steps: readonly Step[]
  endpoint: string
  /** The id of the token that pays. */
  token: string
}

/** One request's way through its plan: who is asked next, what came of it, and the error that stands for it all. */
export class PlanWalk implements Asker {
  readonly token: string
  askedAt = 0
  readonly #steps: readonly Step[]
  readonly #endpoint: string
  readonly #shared: WalkShared
  // Copied when they grow: nearly every walk is one ask long, and an array that grows in place reserves far more.
  #failures: readonly Failure[] = []
  #asked: readonly Step[] = []
  #next = 0
  /** This machine could ask nobody. */
  #isExhausted = false

  constructor({ steps, endpoint, token }: Walk, shared: WalkShared) {
    this.token = token
    this.#steps = steps
    this.#endpoint = endpoint
    this.#shared = shared
  }

  /** The next step that does not rest; where all others do, the one whose rest ends first: nobody rests alone. */
  next(): Step | undefined {
    if (this.#isExhausted) return undefined
    const now = this.#shared.now()
    this.askedAt = now
    while (this.#next < this.#steps.length) {
      const step = this.#steps[this.#next]
      this.#next += 1
      if (step && this.#restsFor(step, now) === 0 && !this.#isMissing(step, now) && this.#mayAsk(step))
        return step
    }
    return this.#firstAwake(now)
  }

  /** To be called right before the ask, for it may be the one probe of a provider. */
  asking(step: Step): void {
    const { health, missingModels } = this.#shared
    if (this.#asked.length > 0) health.retried(step.key, this.token)
    this.#asked = [...this.#asked, step]
    health.admit(step.key, this)
    missingModels.admit(this.#nameOf(step), this)
  }

  succeeded(step: Step): void {
    const { proven } = this.#shared.addresses
    if (!proven.has(step.provider)) proven.add(step.provider)
    this.#shared.health.succeeded(step.key, this)
    this.#shared.missingModels.succeeded(this.#nameOf(step), this)
  }

  /** Whether the operator has to hear of it loudly: of a path that is not there, for the first time. */
  note(step: Step, seen: Failure): boolean {
    const failure = this.#take(step, seen)
    this.#remember(step, failure)
    return failure.isPath === true && this.#shared.addresses.isNews(step.provider, this.#endpoint)
  }

  /** Where another endpoint of this provider answers, it is this one that it lacks. */
  #take({ provider }: Step, seen: Failure): Failure {
    if (!seen.isPath || !this.#shared.addresses.isProven(provider)) return seen
    const { isPath: _, ...failure } = seen
    return failure
  }

  #remember(step: Step, failure: Failure): void {
    const { health, missingModels, providerFailed } = this.#shared
    if (failure.isAccount && failure.status === 401) this.#shared.keyRefused?.(step.provider)
    this.#failures = [...this.#failures, failure]
    this.#isExhausted = isExhausted(failure)
    // It would rest for everybody else.
    if (failure.kind === 'own') return
    providerFailed(step.provider.name, failure.reason)
    const seen = { failure, now: this.#shared.now() }
    if (isModelMissing(failure)) missingModels.failed(this.#nameOf(step), this, seen)
    else health.failed(step.key, this, seen)
  }

  verdict(model: string): GatewayError {
    const now = this.#shared.now()
    const isOpen = (step: Step) => !this.#asked.includes(step) && !this.#isMissing(step, now)
    return judgeFailures(model, {
      failures: this.#failures,
      restsMs: this.#steps.map((step) => this.#restsFor(step, now)),
      neverAsked: this.#steps.filter(isOpen).length,
      // A name that a pattern serves may be one that nobody has.
      endpoint: this.#steps[0]?.model.name.includes('*') ? undefined : this.#endpoint,
    })
  }

  #firstAwake(now: number): Step | undefined {
    let first: Step | undefined
    let leastMs = Number.POSITIVE_INFINITY
    for (const step of this.#steps) {
      if (this.#asked.includes(step) || !this.#mayAsk(step)) continue
      const isMissing = this.#isMissing(step, now)
      // It may have learnt the model, and only a provider's own word makes a 404: asked, but never again and again.
      if (isMissing && this.#asked.length > 0) continue
      const waitMs = this.#restsFor(step, now) + (isMissing ? LAST_OF_ALL_MS : 0)
      if (waitMs >= leastMs) continue
      first = step
      leastMs = waitMs
    }
    return first
  }

  /** A provider that has the model may lack one endpoint: the others are not concerned. */
  #nameOf(step: Step): string {
    return `${step.key} ${this.#endpoint}`
  }

  #restsFor(step: Step, now: number): number {
    return this.#shared.health.restsFor(step.key, this.token, now)
  }

  #isMissing(step: Step, now: number): boolean {
    return this.#shared.missingModels.restsFor(this.#nameOf(step), this.token, now) > 0
  }

  #mayAsk(step: Step): boolean {
    return this.#asked.length === 0 || this.#shared.health.mayRetry(step.key, this.token, this.askedAt)
  }
}
