import type { Bill } from '../billing/bill.ts'
import type { Deadline } from '../deadlines.ts'
import { upstreamQuery } from '../dialects/headers.ts'
import { type GatewayError, generationTimedOut } from '../errors.ts'
import { type Failure, isUnsent, textOf } from '../routing/failover.ts'
import { PlanWalk, type Step } from '../routing/plan.ts'
import type { ProviderListener } from '../upstream/provider-call.ts'
import type { Attempt } from '../upstream/upstreams.ts'
import type { PaidCall, Shared } from './paid-call.ts'

/** Who hears of an attempt, who counts it, and the deadline of all of them. */
interface Asking {
  bill: Bill
  total: Deadline
}

/** One request's asks of providers, one after the other: what is sent to each, and what came of it. */
export class Attempts {
  readonly #call: PaidCall
  readonly #shared: Shared
  readonly #walk: PlanWalk
  #current: Attempt | undefined
  /** A whole answer was asked for and did not come in time: it may have been made, and was paid for, all the same. */
  #isTimedOut = false

  constructor(call: PaidCall, shared: Shared) {
    this.#call = call
    this.#shared = shared
    const walk = { steps: call.steps, endpoint: call.endpoint.path, token: call.token.id }
    this.#walk = new PlanWalk(walk, shared)
  }

  /** The one that runs, or ran last. */
  get current(): Attempt | undefined {
    return this.#current
  }

  /** Asks the next of the plan; false: nobody is left, or the body is spent. */
  next(listener: ProviderListener, { bill, total }: Asking): boolean {
    if (this.#isTimedOut) return false
    const { ask } = this.#call
    const step = this.#walk.next()
    const body = step && ask.bodyFor(step.upstreamModel, ask.mustAskForUsage && step.provider.usageOption)
    if (!body) return false
    this.#walk.asking(step)
    bill.beginAttempt(step)
    total.reach(step.timeouts?.totalMs ?? this.#shared.timeouts.totalTimeoutMs)
    const { request, endpoint } = this.#call
    const headers = this.#shared.upstreamHeaders(request.headers, step.provider, step.dialect)
    const path = step.provider.basePath + endpoint.path + upstreamQuery(request.url)
    const call = { path, headers, body, ...this.#timeoutsOf(step) }
    this.#current = this.#shared.upstreams.ask(step.provider.origin, call, listener)
    return true
  }

  abort(): void {
    this.#current?.abort()
  }

  succeeded(step: Step): void {
    this.#walk.succeeded(step)
  }

  note(step: Step | undefined, failure: Failure): void {
    if (!step) return
    const { request, endpoint } = this.#call
    const { reason } = failure
    const isNews = this.#walk.note(step, failure)
    if (failure.kind === 'timeout' && this.#generates(step)) this.#isTimedOut = !isUnsent(failure)
    request.line.cause = reason
    const { name, origin, basePath } = step.provider
    const fields = { provider: name, model: step.upstreamModel, reason }
    const text = textOf(failure, isNews)
    if (isNews) request.log.error({ ...fields, address: origin + basePath + endpoint.path }, text)
    else request.log.warn(fields, text)
  }

  /** The one error that stands for all of them. */
  verdict(): GatewayError {
    if (this.#isTimedOut)
      return generationTimedOut(
        'The answer did not come in time, and may have been made all the same: it is not asked for again. ' +
          'Ask for a stream, or for less.',
      )
    return this.#walk.verdict(this.#call.ask.model)
  }

  /** Whether it would cost twice to ask for it twice. */
  #generates({ model }: Step): boolean {
    const { ask, endpoint } = this.#call
    return !ask.isStream && !model.retryAfterTimeout && endpoint.dialect.hasOutput && !endpoint.dialect.isFree
  }

  #timeoutsOf({ timeouts: own }: Step) {
    const { isStream } = this.#call.ask
    const { timeouts } = this.#shared
    const firstByteMs = own?.firstByteMs ?? timeouts.firstByteTimeoutMs
    return {
      answerTimeoutMs: isStream ? firstByteMs : (own?.answerMs ?? timeouts.answerTimeoutMs),
      idleTimeoutMs: isStream ? (own?.idleMs ?? timeouts.idleTimeoutMs) : undefined,
    }
  }
}
