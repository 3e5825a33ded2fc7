import type { IncomingHttpHeaders } from 'node:http'
import { GatewayError, gatewayRestarting, upstreamFailed } from '../errors.ts'
import type { ProviderHealth } from '../routing/health.ts'
import type { Step } from '../routing/plan.ts'
import type { RetryBudget } from '../routing/retry-budget.ts'
import type { Answer } from './answer.ts'
import { PlainAnswer } from './answer-plain.ts'
import { StreamAnswer } from './answer-stream.ts'
import { type Attempt, type AttemptListener, startAttempt } from './attempt.ts'
import { type Bill, type BillRequest, openBill } from './bill.ts'
import type { Downstream } from './downstream.ts'
import {
  type Failure,
  isProviderFailure,
  isUnhealthy,
  readNetworkFailure,
  readRetryAfter,
} from './failover.ts'
import { upstreamHeaders } from './headers.ts'
import type { Live } from './live.ts'
import type { Upstreams, UpstreamTimeouts } from './upstreams.ts'
import { judgeFailures } from './verdict.ts'

/** One paid request, held and planned, about to be asked. */
export interface ExchangeRequest extends BillRequest {
  steps: readonly Step[]
  downstream: Downstream
}

/** What all exchanges of one app share. */
export interface ExchangeTools {
  upstreams: Upstreams
  timeouts: UpstreamTimeouts
  health: ProviderHealth
  budget: RetryBudget
  now(): number
  /** Everything that runs, for the drain. */
  live: Live
}

const TOTAL_TIMEOUT: Failure = {
  kind: 'timeout',
  status: 0,
  reason: 'total timeout',
  retryAfterMs: undefined,
}

/** From the first ask of a provider to the settled bill: failover before the first byte, one answer, one settlement. */
export class Exchange implements AttemptListener {
  readonly #deal: ExchangeRequest
  readonly #tools: ExchangeTools
  readonly #bill: Bill
  readonly #failures: Failure[] = []
  readonly #total: NodeJS.Timeout
  #next = 0
  #attempt: Attempt | undefined
  #answer: Answer | undefined
  slot = -1
  #isOver = false
  #billed = (): void => {}

  constructor(deal: ExchangeRequest, tools: ExchangeTools) {
    this.#deal = deal
    this.#tools = tools
    this.#bill = openBill(deal)
    this.#total = setTimeout(() => this.#runOut(), tools.timeouts.totalTimeoutMs)
    tools.live.add(this)
    deal.request.billing = new Promise((resolve) => {
      this.#billed = resolve
    })
  }

  start(): void {
    const { response } = this.#deal.downstream
    response.once('close', () => {
      if (!response.writableFinished) this.#left()
    })
    if (response.destroyed) this.#left()
    else this.#askNext()
  }

  /** The gateway must go: the client is told so and cut. */
  cut(): void {
    this.#stop(gatewayRestarting('The gateway is restarting; send the request again'))
  }

  answered(status: number, headers: IncomingHttpHeaders): boolean {
    const step = this.#bill.step()
    if (!step || this.#isOver) return false
    const type = String(headers['content-type'] ?? '')
    const isPage = status < 300 && /^text\/html/i.test(type)
    if (isProviderFailure(status) || isPage) {
      const retryAfterMs = readRetryAfter(headers, this.#tools.now())
      this.#fail({ kind: 'status', status, reason: isPage ? 'html' : String(status), retryAfterMs })
      return false
    }
    this.#tools.health.succeeded(step.health)
    this.#bill.noteFirstByte()
    this.#answer = this.#openAnswer(step, status, headers)
    return true
  }

  data(chunk: Buffer): void {
    this.#answer?.data(chunk)
  }

  ended(): void {
    // The answer is whole: counting it must not turn it into a timeout.
    clearTimeout(this.#total)
    this.#answer?.ended()
  }

  failed(error: Error): void {
    if (this.#isOver) return
    if (error instanceof GatewayError) return this.#refuse(error)
    const failure = readNetworkFailure(error)
    if (!this.#deal.downstream.hasBegun()) return this.#fail(failure)
    this.#note(failure)
    this.#answer?.died(upstreamFailed('The provider broke off its answer', { cause: error }))
  }

  #left(): void {
    if (this.#isOver) return
    this.#attempt?.abort()
    this.#deal.request.line.error ??= 'client_left'
    if (this.#answer) return this.#answer.left()
    this.#over(this.#bill.settle(499, undefined))
  }

  #runOut(): void {
    this.#note(TOTAL_TIMEOUT)
    this.#stop(this.#verdict())
  }

  #stop(error: GatewayError): void {
    if (this.#isOver) return
    this.#attempt?.abort()
    if (this.#answer && this.#deal.downstream.hasBegun()) this.#answer.died(error)
    else this.#refuse(error)
  }

  #askNext(): void {
    const { steps, ask, endpoint, request } = this.#deal
    const { health, budget, upstreams, timeouts, now } = this.#tools
    while (this.#next < steps.length) {
      const step = steps[this.#next]
      this.#next += 1
      if (!step || health.isResting(step.health, now())) continue
      const body = ask.bodyFor(step.upstreamModel, ask.mustAskForUsage && step.provider.usageOption)
      if (!body || (this.#bill.attempts() > 0 && !budget.spend())) break
      // Only now, for it may take the one probe of a provider whose rest is over.
      health.admit(step.health, now())
      this.#bill.beginAttempt(step)
      this.#answer = undefined
      const { provider } = step
      const headers = upstreamHeaders(request.headers, provider, endpoint.dialect)
      const pool = upstreams.pool(provider.origin)
      this.#attempt = startAttempt(
        { pool, path: provider.basePath + endpoint.path, headers, body, timeouts },
        this,
      )
      return
    }
    this.#refuse(this.#verdict())
  }

  #fail(failure: Failure): void {
    this.#note(failure)
    this.#askNext()
  }

  #note(failure: Failure): void {
    const step = this.#bill.step()
    if (!step) return
    this.#failures.push(failure)
    const { health, now } = this.#tools
    if (isUnhealthy(failure)) health.failed(step.health, now(), failure.retryAfterMs)
    const { reason } = failure
    this.#deal.request.line.cause = reason
    this.#deal.request.log.warn(
      { provider: step.provider.name, model: step.upstreamModel, reason },
      'provider failed',
    )
  }

  #verdict(): GatewayError {
    const { steps, ask } = this.#deal
    const { health, now } = this.#tools
    const rests = steps.map((step) => health.restsFor(step.health, now()))
    return judgeFailures(ask.model, this.#failures, rests)
  }

  #refuse(error: GatewayError): void {
    if (this.#isOver) return
    this.#attempt?.abort()
    this.#deal.request.line.error = error.code
    const tell = (): void => this.#deal.downstream.fail(error, this.#bill.headers())
    this.#over(this.#bill.settle(error.statusCode, undefined).then(tell, tell))
  }

  #openAnswer(step: Step, status: number, headers: IncomingHttpHeaders): Answer {
    const { endpoint, ask, downstream, hold } = this.#deal
    const context = {
      endpoint,
      ask,
      downstream,
      status,
      headers,
      price: step.model.price,
      heldMicros: hold.micros,
      stallTimeoutMs: this.#tools.timeouts.idleTimeoutMs,
      bill: this.#bill,
      attempt: () => this.#attempt,
      over: () => this.#over(),
    }
    const isStream = /^text\/event-stream/i.test(String(headers['content-type']))
    if (status >= 300 || !isStream) return new PlainAnswer(context)
    return new StreamAnswer(context, ask.mustAskForUsage && step.provider.usageOption)
  }

  /** Nothing more will happen but for the bill, when it is still on its way. */
  #over(bill?: Promise<unknown>): void {
    this.#isOver = true
    clearTimeout(this.#total)
    this.#deal.ask.discard()
    const leave = (): void => {
      this.#tools.live.delete(this)
      this.#billed()
    }
    if (bill) bill.then(leave, leave)
    else leave()
  }
}
