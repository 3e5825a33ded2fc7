import type { GatewayError } from '../errors.ts'
import { type Failure, isModelMissing, judgeFailures } from './failover.ts'
import type { ProviderHealth } from './health.ts'
import type { Step } from './plan.ts'

/** Retries that a quiet gateway may make at once. */
const BURST = 10
/** What every request adds: in a storm, traffic to providers grows by no more than this share. */
const SHARE = 0.2

/** Keeps failover from multiplying traffic when many providers fail at once; one per app. */
export interface RetryBudget {
  /** To be called once for every request. */
  earn(): void
  /** Whether `spend` would say yes. */
  hasLeft(): boolean
  /** To be called once for every attempt after a request's first; false: do not make it. */
  spend(): boolean
}

export function createRetryBudget(): RetryBudget {
  let left = BURST
  return {
    earn() {
      if (left < BURST) left = Math.min(BURST, left + SHARE)
    },
    hasLeft: () => left >= 1,
    spend() {
      if (left < 1) return false
      left -= 1
      return true
    },
  }
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
      // Any other name may be one that nobody has.
      endpoint: this.#steps[0]?.model.name === '*' ? undefined : this.#endpoint,
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
