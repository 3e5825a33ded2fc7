import type { GatewayError } from '../errors.ts'
import { type Failure, isModelMissing } from './failover.ts'
import type { ProviderHealth } from './health.ts'
import type { Step } from './plan.ts'
import type { RetryBudget } from './retry-budget.ts'
import { judgeFailures } from './verdict.ts'

interface WalkTools {
  health: ProviderHealth
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
  readonly #tools: WalkTools
  // Copied when they grow: nearly every walk is one ask long, and an array that grows in place reserves far more.
  #failures: readonly Failure[] = []
  #asked: readonly Step[] = []
  #next = 0

  constructor(steps: readonly Step[], endpoint: string, tools: WalkTools) {
    this.#steps = steps
    this.#endpoint = endpoint
    this.#tools = tools
  }

  /** The next step that does not rest; where nobody else can be asked, the first that did not know the model. */
  next(): Step | undefined {
    const now = this.#tools.now()
    while (this.#next < this.#steps.length) {
      const step = this.#steps[this.#next]
      this.#next += 1
      if (step && !this.#isResting(step, now) && this.#isAffordable(step, now)) return step
    }
    // It may have learnt the model, and only a provider's own word makes a 404.
    if (this.#asked.length > 0) return undefined
    return this.#steps.find((step) => !this.#tools.health.isResting(step.health, now))
  }

  /** Right before the ask, for it may take the one probe of a provider; false: no further retry may be made. */
  mayAsk(step: Step): boolean {
    const { health, missingModels, budget, now } = this.#tools
    if (this.#asked.length > 0 && !budget.spend()) return false
    this.#asked = [...this.#asked, step]
    health.admit(step.health, now())
    missingModels.admit(this.#nameOf(step), now())
    return true
  }

  succeeded(step: Step): void {
    this.#tools.health.succeeded(step.health)
    this.#tools.missingModels.succeeded(this.#nameOf(step))
  }

  note(step: Step, failure: Failure): void {
    const { health, missingModels, now, providerFailed } = this.#tools
    this.#failures = [...this.#failures, failure]
    // It would rest for everybody else.
    if (failure.kind === 'own') return
    providerFailed(step.provider.name, failure.reason)
    if (isModelMissing(failure)) missingModels.failed(this.#nameOf(step), now())
    else health.failed(step.health, now(), failure.retryAfterMs)
  }

  verdict(model: string): GatewayError {
    const { health, missingModels } = this.#tools
    const now = this.#tools.now()
    const isOpen = (step: Step) =>
      !this.#asked.includes(step) && !missingModels.isResting(this.#nameOf(step), now)
    return judgeFailures(model, {
      failures: this.#failures,
      restsMs: this.#steps.map((step) => health.restsFor(step.health, now)),
      neverAsked: this.#steps.filter(isOpen).length,
    })
  }

  /** A provider that has the model may lack one endpoint: the others are not concerned. */
  #nameOf(step: Step): string {
    return `${step.health} ${this.#endpoint}`
  }

  #isResting(step: Step, now: number): boolean {
    const { health, missingModels } = this.#tools
    return health.isResting(step.health, now) || missingModels.isResting(this.#nameOf(step), now)
  }

  /** A probe that fails costs a retry: while there is none, requests go to whoever is well. */
  #isAffordable(step: Step, now: number): boolean {
    const { health, missingModels, budget } = this.#tools
    const isDue = (one: Step) => health.isDue(one.health, now) || missingModels.isDue(this.#nameOf(one), now)
    if (budget.hasLeft() || !isDue(step)) return true
    return !this.#steps.slice(this.#next).some((later) => !this.#isResting(later, now) && !isDue(later))
  }
}
