import { Bill, creditHeaders } from '../billing/bill.ts'
import { Billed } from '../billing/billed.ts'
import type { Deadline } from '../deadlines.ts'
import { upstreamHeaders, upstreamQuery } from '../dialects/headers.ts'
import { GatewayError, gatewayRestarting, upstreamFailed } from '../errors.ts'
import {
  type Failure,
  OWN_FAULT_TEXT,
  readNetworkFailure,
  readStatusFailure,
  TOTAL_TIMEOUT,
} from '../routing/failover.ts'
import type { Step } from '../routing/plan.ts'
import { PlanWalk } from '../routing/plan-walk.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { CallListener } from '../upstream/call.ts'
import { createKeyMask, ErrorMask, type KeyMask, maskHeaders } from '../upstream/key-mask.ts'
import type { AnswerHeaders } from '../upstream/response.ts'
import { UpstreamError } from '../upstream/rules.ts'
import type { Attempt } from '../upstream/upstreams.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import { isStream, openAnswer } from './open-answer.ts'
import type { PaidRequest } from './paid-request.ts'
import type { Shared } from './shared.ts'

/**
 * How long a stream's head waits for a first byte, and may fail over; then it leaves, lest somebody gives up a silent
 * one.
 */
const HEAD_PATIENCE_MS = 250

/**
 * One request's way from the first ask of a provider to the settled bill: failover before the first byte, one answer,
 * one settlement.
 */
export class Exchange implements CallListener, AnswerOwner {
  readonly #paid: PaidRequest
  readonly #shared: Shared
  readonly #bill: Bill
  readonly #walk: PlanWalk
  readonly #total: Deadline
  #attempt: Attempt | undefined
  #head: AnswerHead | undefined
  /** Keeps the key of the provider that answers out of its answer. */
  #mask: KeyMask | ErrorMask | undefined
  readonly #patience: Deadline
  #answer: Answer | undefined
  slot = -1
  /** The whole answer is here: only its bill and its last bytes are on their way. */
  #isWhole = false
  #isOver = false
  readonly #billed = new Billed()

  constructor(paid: PaidRequest, shared: Shared) {
    this.#paid = paid
    this.#shared = shared
    this.#bill = new Bill(paid)
    this.#walk = new PlanWalk(paid.steps, paid.endpoint.path, shared)
    this.#patience = shared.deadlines.open(() => this.#begin())
    this.#total = shared.deadlines.open(() => this.#runOut())
    this.#total.start(shared.timeouts.totalTimeoutMs)
    shared.live.add(this)
    paid.request.billing = this.#billed
  }

  attempt(): Attempt | undefined {
    return this.#attempt
  }

  start(): void {
    const { response } = this.#paid.downstream
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

  answered(status: number, headers: AnswerHeaders): boolean {
    const step = this.#bill.step()
    if (!step || this.#isOver) return false
    const failure = readStatusFailure(status, headers, this.#shared.wallMs())
    if (failure) {
      this.#fail(failure)
      return false
    }
    this.#head = { status, headers: this.#hideKey(step, status, headers) }
    if (isStream(this.#head)) this.#patience.start(HEAD_PATIENCE_MS)
    else this.#begin()
    return true
  }

  /** From here on the provider's key is taken out of what it says; returns its headers without it. */
  #hideKey({ provider }: Step, status: number, headers: AnswerHeaders): AnswerHeaders {
    const mask = createKeyMask(provider.key)
    const clean = maskHeaders(headers, mask)
    this.#mask = mask
    if (!mask || status < 400) return clean
    const whole = new ErrorMask(mask, headers['content-encoding'])
    this.#mask = whole
    return whole.headers(clean)
  }

  data(chunk: Buffer): void {
    if (!this.#answer) this.#begin()
    const bytes = this.#mask ? this.#mask.pass(chunk) : chunk
    if (bytes.length > 0) this.#answer?.data(bytes)
  }

  ended(): void {
    if (!this.#answer) return this.failed(new UpstreamError('CLOSED_EARLY', 'The provider streamed nothing'))
    // Counting it must not turn it into a timeout, nor a restart into an error that was charged.
    this.#isWhole = true
    this.#total.stop()
    const rest = this.#mask?.rest()
    if (rest && rest.length > 0) this.#answer.data(rest)
    this.#answer.ended()
  }

  failed(error: Error): void {
    if (this.#isOver) return
    if (error instanceof GatewayError) return this.#refuse(error)
    const failure = readNetworkFailure(error)
    if (!this.#paid.downstream.hasBegun()) return this.#fail(failure)
    this.#note(failure)
    this.#answer?.died(upstreamFailed('The provider broke off its answer', { cause: error }))
  }

  #left(): void {
    if (this.#isOver) return
    this.#attempt?.abort()
    this.#paid.request.line.error ??= 'client_left'
    if (this.#answer) return this.#answer.left()
    this.#overAfter(this.#bill.settle(499, undefined))
  }

  #runOut(): void {
    this.#note(TOTAL_TIMEOUT)
    this.#stop(this.#walk.verdict(this.#paid.ask.model))
  }

  #stop(error: GatewayError): void {
    if (this.#isOver || this.#isWhole) return
    this.#attempt?.abort()
    if (this.#answer && this.#paid.downstream.hasBegun()) this.#answer.died(error)
    else this.#refuse(error)
  }

  #askNext(): void {
    const { ask, endpoint, request } = this.#paid
    const { upstreams, timeouts } = this.#shared
    const step = this.#walk.next()
    const body = step && ask.bodyFor(step.upstreamModel, ask.mustAskForUsage && step.provider.usageOption)
    if (!body || !this.#walk.mayAsk(step)) return this.#refuse(this.#walk.verdict(ask.model))
    this.#bill.beginAttempt(step)
    this.#answer?.drop()
    this.#answer = undefined
    this.#patience.stop()
    const { provider } = step
    const headers = upstreamHeaders(request.headers, provider, step.dialect)
    const path = provider.basePath + endpoint.path + upstreamQuery(request.url)
    const { firstByteTimeoutMs, idleTimeoutMs } = timeouts
    const call = { path, headers, body, firstByteTimeoutMs, idleTimeoutMs }
    this.#attempt = upstreams.ask(provider.origin, call, this)
  }

  #fail(failure: Failure): void {
    this.#note(failure)
    this.#askNext()
  }

  #note(failure: Failure, step = this.#bill.step()): void {
    if (!step) return
    const { request } = this.#paid
    const { reason } = failure
    this.#walk.note(step, failure)
    request.line.cause = reason
    const text = failure.kind === 'own' ? OWN_FAULT_TEXT : 'provider failed'
    request.log.warn({ provider: step.provider.name, model: step.upstreamModel, reason }, text)
  }

  #refuse(error: GatewayError): void {
    if (this.#isOver) return
    this.#attempt?.abort()
    this.#answer?.drop()
    this.#paid.request.line.error = error.code
    const tell = (settlement?: Settlement): void =>
      this.#paid.downstream.fail(error, { ...this.#bill.headers(), ...creditHeaders(settlement) })
    this.#overAfter(this.#bill.settle(error.statusCode, undefined).then(tell, () => tell()))
  }

  #begin(): void {
    this.#patience.stop()
    const step = this.#bill.step()
    if (!step || !this.#head || this.#isOver) return
    this.#walk.succeeded(step)
    this.#bill.noteFirstByte()
    const answering = { paid: this.#paid, step, head: this.#head, shared: this.#shared, bill: this.#bill }
    this.#answer = openAnswer(this, answering)
  }

  /** Nothing more will happen but for the bill, which is still on its way. */
  #overAfter(bill: Promise<unknown>): void {
    this.#end()
    const leave = (): void => this.#leave()
    bill.then(leave, leave)
  }

  over(): void {
    this.#end()
    this.#leave()
  }

  #end(): void {
    this.#isOver = true
    this.#total.stop()
    this.#patience.stop()
    this.#paid.ask.discard()
    this.#paid.request.bodyLease?.release()
  }

  #leave(): void {
    this.#shared.live.delete(this)
    this.#billed.over()
  }
}
