import type { GatewayError } from '../errors.ts'
import type { ProviderHealth } from '../routing/health.ts'
import type { Step } from '../routing/plan.ts'
import type { RetryBudget } from '../routing/retry-budget.ts'
import { type Failure, isUnhealthy } from './failover.ts'
import { judgeFailures } from './verdict.ts'

interface WalkTools {
  health: ProviderHealth
  budget: RetryBudget
  now(): number
}

/** One request's way through its plan: who is asked next, what came of it, and the error that stands for it all. */
export class PlanWalk {
  readonly #steps: readonly Step[]
  readonly #tools: WalkTools
  readonly #failures: Failure[] = []
  #next = 0
  #hasAsked = false

  constructor(steps: readonly Step[], tools: WalkTools) {
    this.#steps = steps
    this.#tools = tools
  }

  /** The next step whose provider does not rest. */
  next(): Step | undefined {
    const { health, now } = this.#tools
    while (this.#next < this.#steps.length) {
      const step = this.#steps[this.#next]
      this.#next += 1
      if (step && !health.isResting(step.health, now())) return step
    }
    return undefined
  }

  /** Right before the ask, for it may take the one probe of a provider; false: no further retry may be made. */
  mayAsk(step: Step): boolean {
    const { health, budget, now } = this.#tools
    if (this.#hasAsked && !budget.spend()) return false
    this.#hasAsked = true
    health.admit(step.health, now())
    return true
  }

  note(step: Step, failure: Failure): void {
    this.#failures.push(failure)
    if (isUnhealthy(failure)) this.#tools.health.failed(step.health, this.#tools.now(), failure.retryAfterMs)
  }

  verdict(model: string): GatewayError {
    const { health, now } = this.#tools
    const rests = this.#steps.map((step) => health.restsFor(step.health, now()))
    return judgeFailures(model, this.#failures, rests)
  }
}
