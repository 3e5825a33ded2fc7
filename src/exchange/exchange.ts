import { Bill, Billed, creditHeaders } from '../billing/bill.ts'
import type { Deadline } from '../deadlines.ts'
import { upstreamQuery } from '../dialects/headers.ts'
import { GatewayError, gatewayRestarting, upstreamFailed } from '../errors.ts'
import {
  type Failure,
  OWN_FAULT_TEXT,
  readNetworkFailure,
  readStatusFailure,
  TOTAL_TIMEOUT,
} from '../routing/failover.ts'
import { PlanWalk, type Step } from '../routing/plan.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { CallListener } from '../upstream/call.ts'
import { createKeyMask, ErrorMask, type KeyMask, maskHeaders } from '../upstream/key-mask.ts'
import type { AnswerHeaders } from '../upstream/response.ts'
import { UpstreamError } from '../upstream/rules.ts'
import type { Attempt } from '../upstream/upstreams.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import { PlainAnswer } from './answer-plain.ts'
import { StreamAnswer } from './answer-stream.ts'
import { Pressure } from './downstream.ts'
import type { PaidCall, Shared } from './paid-call.ts'

/**
 * How long a stream's head waits for a first byte, and may fail over; then it leaves, lest somebody gives up a silent
 * one.
 */
const HEAD_PATIENCE_MS = 250

/**
 * A provider is asked; a stream's head is here and waits for a first byte; bytes pass; the whole answer is here and only
 * its bill and its last bytes are on their way; nothing more will happen but for the bill.
 */
type State = 'asking' | 'waiting' | 'answering' | 'settling' | 'over'

/**
 * One request's way from the first ask of a provider to the settled bill: failover before the first byte, one answer,
 * one settlement.
 */
export class Exchange implements CallListener, AnswerOwner {
  readonly call: PaidCall
  readonly shared: Shared
  readonly bill: Bill
  readonly #walk: PlanWalk
  readonly #total: Deadline
  #attempt: Attempt | undefined
  #head: AnswerHead | undefined
  /** Keeps the key of the provider that answers out of its answer. */
  #mask: KeyMask | ErrorMask | undefined
  readonly #patience: Deadline
  #answer: Answer | undefined
  slot = -1
  #state: State = 'asking'
  readonly #billed = new Billed()

  constructor(call: PaidCall, shared: Shared) {
    this.call = call
    this.shared = shared
    this.bill = new Bill(call)
    this.#walk = new PlanWalk(
      { steps: call.steps, endpoint: call.endpoint.path, token: call.token.id },
      shared,
    )
    this.#patience = shared.deadlines.open(() => this.#tellHead())
    this.#total = shared.deadlines.open(() => this.#runOut())
    this.#total.start(shared.timeouts.totalTimeoutMs)
    shared.live.add(this)
    call.request.billing = this.#billed
  }

  openPressure(): Pressure {
    return new Pressure(this.call.downstream, this.#attempt, this.shared.timeouts.idleTimeoutMs)
  }

  start(): void {
    const { response } = this.call.downstream
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
    const step = this.bill.step()
    if (!step || this.#state === 'over') return false
    const failure = readStatusFailure(status, headers, this.shared.wallMs())
    if (failure) {
      this.#fail(failure)
      return false
    }
    this.#head = { status, headers: this.#hideKey(step, status, headers) }
    if (isStream(this.#head)) this.#await()
    else this.#begin()
    return true
  }

  #await(): void {
    this.#state = 'waiting'
    this.#patience.start(HEAD_PATIENCE_MS)
  }

  /** From here on the provider's key is taken out of what it says; returns its headers without it. */
  #hideKey({ provider }: Step, status: number, headers: AnswerHeaders): AnswerHeaders {
    const mask = createKeyMask(provider.key)
    const clean = maskHeaders(headers, mask)
    this.#mask = mask
    if (status < 400) return clean
    const whole = new ErrorMask(mask, headers['content-encoding'], provider.origin)
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
    const rest = this.#mask?.rest()
    if (rest && rest.length > 0) this.#answer.data(rest)
    this.#settleAfter(this.#answer.ended())
  }

  failed(error: Error): void {
    if (this.#state === 'over') return
    if (error instanceof GatewayError) return this.#refuse(error)
    const failure = readNetworkFailure(error)
    if (!this.call.downstream.hasBegun()) return this.#fail(failure)
    this.#note(failure)
    this.#breakOff(upstreamFailed('The provider broke off its answer', { cause: error }), 502)
  }

  cutOff(why: GatewayError): void {
    this.#breakOff(why, why.statusCode)
  }

  #breakOff(error: GatewayError, status: number): void {
    if (!this.#answer || this.#isDone()) return
    this.#attempt?.abort()
    this.#settleAfter(this.#answer.died(error, status))
  }

  #left(): void {
    if (this.#state === 'over') return
    this.#attempt?.abort()
    this.call.request.line.error ??= 'client_left'
    if (this.#state === 'settling') return
    if (this.#answer) return this.#settleAfter(this.#answer.left())
    this.#overAfter(this.bill.settle(499, undefined))
  }

  #runOut(): void {
    this.#note(TOTAL_TIMEOUT)
    this.#stop(this.#walk.verdict(this.call.ask.model))
  }

  #stop(error: GatewayError): void {
    if (this.#isDone()) return
    if (this.#answer && this.call.downstream.hasBegun()) this.#breakOff(error, 502)
    else this.#refuse(error)
  }

  #askNext(): void {
    const { ask, endpoint, request } = this.call
    const { upstreams, timeouts } = this.shared
    const step = this.#walk.next()
    const body = step && ask.bodyFor(step.upstreamModel, ask.mustAskForUsage && step.provider.usageOption)
    if (!body) return this.#refuse(this.#walk.verdict(ask.model))
    this.#walk.asking(step)
    this.#state = 'asking'
    this.bill.beginAttempt(step)
    this.#answer?.drop()
    this.#answer = undefined
    this.#patience.stop()
    const { provider } = step
    const headers = this.shared.upstreamHeaders(request.headers, provider, step.dialect)
    const path = provider.basePath + endpoint.path + upstreamQuery(request.url)
    const own = step.timeouts
    this.#total.reach(own?.totalMs ?? timeouts.totalTimeoutMs)
    const firstByteMs = own?.firstByteMs ?? timeouts.firstByteTimeoutMs
    const answerTimeoutMs = ask.isStream ? firstByteMs : (own?.answerMs ?? timeouts.answerTimeoutMs)
    const idleTimeoutMs = ask.isStream ? (own?.idleMs ?? timeouts.idleTimeoutMs) : undefined
    const call = { path, headers, body, answerTimeoutMs, idleTimeoutMs }
    this.#attempt = upstreams.ask(provider.origin, call, this)
  }

  #fail(failure: Failure): void {
    this.#note(failure)
    this.#askNext()
  }

  #note(failure: Failure, step = this.bill.step()): void {
    if (!step) return
    const { request } = this.call
    const { reason } = failure
    this.#walk.note(step, failure)
    request.line.cause = reason
    const text = failure.kind === 'own' ? OWN_FAULT_TEXT : 'provider failed'
    request.log.warn({ provider: step.provider.name, model: step.upstreamModel, reason }, text)
  }

  #refuse(error: GatewayError): void {
    if (this.#state === 'over') return
    this.#attempt?.abort()
    this.#answer?.drop()
    this.call.request.line.error = error.code
    const tell = (settlement?: Settlement): void =>
      this.call.downstream.fail(error, { ...this.bill.headers(), ...creditHeaders(settlement) })
    this.#overAfter(this.bill.settle(error.statusCode, undefined).then(tell, () => tell()))
  }

  /** The head has waited long enough for a first byte. */
  #tellHead(): void {
    const answer = this.#begin()
    if (answer instanceof StreamAnswer) answer.tellHead()
  }

  #begin(): Answer | undefined {
    this.#patience.stop()
    const step = this.bill.step()
    if (!step || !this.#head || this.#state === 'over') return undefined
    this.#state = 'answering'
    this.#walk.succeeded(step)
    this.bill.noteFirstByte()
    this.#answer = isStream(this.#head)
      ? new StreamAnswer(this, this.#head, step)
      : new PlainAnswer(this, this.#head, step)
    return this.#answer
  }

  /** Nothing more will happen but for the bill, which is still on its way. */
  #overAfter(bill: Promise<unknown>): void {
    this.#end()
    const leave = (): void => this.#leave()
    bill.then(leave, leave)
  }

  /** The answer is over, but for its bill and its last bytes: counting it is no timeout, and no restart ends it. */
  #settleAfter(end: Promise<void>): void {
    if (this.#isDone()) return
    this.#state = 'settling'
    this.#total.stop()
    const over = (): void => {
      this.#end()
      this.#leave()
    }
    end.then(over, () => {
      this.call.downstream.cut()
      over()
    })
  }

  #isDone(): boolean {
    return this.#state === 'settling' || this.#state === 'over'
  }

  #end(): void {
    this.#state = 'over'
    this.#total.stop()
    this.#patience.stop()
    this.call.ask.discard()
    this.call.request.bodyLease?.release()
  }

  #leave(): void {
    this.shared.live.delete(this)
    this.#billed.over()
  }
}

/** Whatever the client asked for, the provider's media type decides how its answer passes. */
function isStream({ status, headers }: AnswerHead): boolean {
  return status < 300 && /^text\/event-stream/i.test(String(headers['content-type']))
}
