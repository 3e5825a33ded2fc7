import { Bill, Billed, creditHeaders } from '../billing/bill.ts'
import type { Deadline } from '../deadlines.ts'
import { BROKEN_ANSWER, type ToldFailure } from '../dialects/verdict.ts'
import { GatewayError, gatewayRestarting, invalidApiKey, upstreamFailed } from '../errors.ts'
import {
  type Failure,
  readNetworkFailure,
  readRefusalFailure,
  readStatusFailure,
  readToldFailure,
  TOTAL_TIMEOUT,
} from '../routing/failover.ts'
import type { Step } from '../routing/plan.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { AnswerHeaders } from '../upstream/heads.ts'
import type { ProviderListener } from '../upstream/provider-call.ts'
import { UpstreamError } from '../upstream/rules.ts'
import {
  type Answer,
  type AnswerHead,
  type AnswerKind,
  type AnswerOwner,
  asEventStream,
  findMisfit,
  HEAD_PATIENCE_MS,
  kindByFirstBytes,
  readHead,
  readKind,
  type ToldHead,
} from './answer.ts'
import { MissingAnswer } from './answer-missing.ts'
import { PlainAnswer } from './answer-plain.ts'
import { StreamAnswer } from './answer-stream.ts'
import { Attempts } from './attempts.ts'
import type { PaidCall, Shared } from './paid-call.ts'
import { beat, listen } from './stream-writer.ts'

/**
 * A provider is asked; a head is here and waits for an answer; there is one, and no way back from it; all of it is here
 * and only its bill and its last bytes are on their way; nothing more will happen but for the bill.
 */
type State = 'asking' | 'waiting' | 'answering' | 'settling' | 'over'

/**
 * One request's way from the first ask of a provider to the settled bill: failover before the first output, one answer,
 * one settlement.
 */
export class Exchange implements ProviderListener, AnswerOwner {
  readonly call: PaidCall
  readonly shared: Shared
  readonly bill: Bill
  readonly attempts: Attempts
  readonly #total: Deadline
  #head: AnswerHead | undefined
  #kind: AnswerKind = 'whole'
  /** What the client was told of an answer that failed: another one has to fit. */
  #told: ToldHead | undefined
  readonly #patience: Deadline
  #answer: Answer | undefined
  slot = -1
  #state: State = 'asking'
  readonly #billed = new Billed()

  constructor(call: PaidCall, shared: Shared) {
    this.call = call
    this.shared = shared
    this.bill = new Bill(call)
    this.attempts = new Attempts(call, shared)
    this.#patience = shared.deadlines.open(() => this.#patienceEnded())
    this.#total = shared.deadlines.open(() => this.#runOut())
    this.#total.start(shared.timeouts.totalTimeoutMs)
    shared.live.add(this)
    call.request.billing = this.#billed
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

  secretHash(): string | undefined {
    return this.call.ask.isStream && !this.#isDone() ? this.call.request.secretHash : undefined
  }

  expire(): void {
    this.#stop(invalidApiKey('Your token is no longer valid: this answer was cut here'), 401)
  }

  answered(status: number, headers: AnswerHeaders): boolean {
    const step = this.bill.step()
    if (!step || this.#state === 'over') return false
    const head = readHead(step.provider, status, headers)
    const kind = readKind(head, this.call.ask.isStream)
    const misfit = this.#told && findMisfit(this.#told, head, kind)
    const failure = readStatusFailure(status, headers, this.shared.wallMs()) ?? misfit
    // What is missing, the body tells.
    if (failure && status !== 404) return this.#fail(failure)
    this.#head = head
    this.#state = 'waiting'
    this.#kind = kind
    if (kind === 'whole') this.#begin(head, step)
    else if (this.#told) listen(this.#patience, this.shared.heartbeatMs)
    else if (kind === 'stream') this.#patience.start(HEAD_PATIENCE_MS)
    return true
  }

  data(chunk: Buffer): void {
    const answer = this.#answer ?? this.#beginWith(chunk)
    const mask = this.#head?.mask
    const bytes = mask ? mask.pass(chunk) : chunk
    const hasHeld = answer?.holdsBack() ?? false
    if (bytes.length > 0) answer?.data(bytes)
    if (this.#kind === 'whole' || this.#isDone()) return
    if (this.#state !== 'answering' && !this.call.downstream.hasBegun()) return
    // A stream's silence begins anew; what says that it has begun waits for its output, and not for more of its kind.
    if (!answer?.holdsBack()) listen(this.#patience, this.shared.heartbeatMs)
    else if (!hasHeld) this.#patience.start(HEAD_PATIENCE_MS)
  }

  ended(): void {
    const answer = this.#answer
    if (!answer) return this.failed(new UpstreamError('CLOSED_EARLY', 'The provider answered nothing'))
    const rest = this.#head?.mask?.rest()
    const refusal = readRefusalFailure(this.#head?.status ?? 0, rest)
    if (refusal) return this.#failWith(refusal)
    if (rest && rest.length > 0) answer.data(rest)
    const failure = this.#state === 'waiting' ? answer.failure() : undefined
    if (failure) return this.#failWith(readToldFailure(failure))
    // What came last may have told a failure.
    if (answer !== this.#answer) return
    this.accept()
    this.#settleAfter(answer.ended())
  }

  accept(): void {
    const step = this.bill.step()
    if (!step || this.#state !== 'waiting') return
    this.#state = 'answering'
    this.attempts.succeeded(step)
  }

  failedInside(why: ToldFailure): void {
    if (this.#isDone()) return
    this.attempts.abort()
    this.#failWith(readToldFailure(why))
  }

  failed(error: Error): void {
    if (this.#state === 'over') return
    if (error instanceof GatewayError) return this.#refuse(error)
    this.#failWith(readNetworkFailure(error), error)
  }

  /** The next of the plan is asked, unless the client knows too much of this answer. */
  #failWith(failure: Failure, cause?: Error): void {
    if (!this.#answer?.hasSpoken()) return void this.#fail(failure)
    this.attempts.note(this.bill.step(), failure)
    this.#breakOff(upstreamFailed('The provider broke off its answer', { cause }), 502)
  }

  cutOff(why: GatewayError): void {
    this.#breakOff(why, why.statusCode)
  }

  #breakOff(error: GatewayError, status: number): void {
    if (!this.#answer || this.#isDone()) return
    this.attempts.abort()
    this.#settleAfter(this.#answer.died(error, status))
  }

  #left(): void {
    if (this.#state === 'over') return
    this.attempts.abort()
    this.call.request.line.error ??= 'client_left'
    if (this.#state === 'settling') return
    if (this.#answer) return this.#settleAfter(this.#answer.left())
    this.#overAfter(this.bill.settle(499, undefined))
  }

  #runOut(): void {
    this.attempts.note(this.bill.step(), TOTAL_TIMEOUT)
    this.#stop(this.attempts.verdict())
  }

  #stop(error: GatewayError, status = 502): void {
    if (this.#isDone()) return
    if (this.#answer?.hasSpoken()) this.#breakOff(error, status)
    else this.#refuse(error)
  }

  #askNext(): void {
    this.#state = 'asking'
    this.#answer?.drop()
    this.#answer = undefined
    if (this.#head && this.call.downstream.hasBegun())
      this.#told ??= { kind: this.#kind, headers: this.#head.headers }
    if (this.#told?.kind === 'stream') listen(this.#patience, this.shared.heartbeatMs)
    else this.#patience.stop()
    if (!this.attempts.next(this, { bill: this.bill, total: this.#total }))
      this.#refuse(this.attempts.verdict())
  }

  #fail(failure: Failure): false {
    this.attempts.note(this.bill.step(), failure)
    this.bill.forgetAttempt()
    this.#askNext()
    return false
  }

  #refuse(error: GatewayError): void {
    if (this.#state === 'over') return
    this.attempts.abort()
    this.#answer?.drop()
    this.bill.forgetAttempt()
    this.call.request.line.error = error.code
    const tell = (settlement?: Settlement): void =>
      this.call.downstream.fail(error, { ...this.bill.headers(), ...creditHeaders(settlement) })
    this.#overAfter(this.bill.settle(error.statusCode, undefined).then(tell, () => tell()))
  }

  /** A stream has been silent: its head leaves, what it began with, or a sign of life. */
  #patienceEnded(): void {
    const step = this.bill.step()
    if (!this.#head || !step || this.#isDone()) return
    const answer = this.#answer ?? (this.#told ? undefined : this.#begin(this.#head, step))
    if (answer instanceof StreamAnswer) answer.patienceEnded()
    else if (this.#told) beat(this.call)
    listen(this.#patience, this.shared.heartbeatMs)
  }

  /** The first bytes decide where the media type says too little. */
  #beginWith(chunk: Buffer): Answer | undefined {
    const step = this.bill.step()
    if (!this.#head || !step || this.#isDone()) return undefined
    const isUnclear = this.#kind === 'unclear'
    if (isUnclear || !this.#told) this.#kind = kindByFirstBytes(this.#kind, chunk)
    if (this.#told && this.#kind !== this.#told.kind) {
      this.failedInside(BROKEN_ANSWER)
      return undefined
    }
    if (isUnclear && this.#kind === 'stream') {
      this.#head = asEventStream(this.#head)
      if (!this.#told) this.#patience.start(HEAD_PATIENCE_MS)
    }
    return this.#begin(this.#head, step)
  }

  #begin(head: AnswerHead, step: Step): Answer {
    this.bill.noteFirstByte()
    if (head.status === 404) this.#answer = new MissingAnswer(this, head)
    else if (this.#kind === 'stream') this.#answer = new StreamAnswer(this, head, step)
    else this.#answer = new PlainAnswer(this, head, step)
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
    end.catch(() => this.call.downstream.cut()).then(over, over)
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
