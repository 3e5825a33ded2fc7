import { creditHeaders } from '../billing/bill.ts'
import { NO_OUTPUT, type ToldFailure } from '../dialects/verdict.ts'
import { upstreamFailed } from '../errors.ts'
import type { Step } from '../routing/plan.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import { Pressure } from './downstream.ts'
import { StreamStages } from './stages.ts'
import { StreamOpening } from './stream-opening.ts'
import { StreamWriter } from './stream-writer.ts'

/** Server-sent events: each leaves at once, through a row of stages of which nearly all only read. */
export class StreamAnswer implements Answer {
  readonly #owner: AnswerOwner
  readonly #head: AnswerHead
  readonly #stages: StreamStages
  readonly #writer: StreamWriter
  /** It is there until there is output; undefined too where nobody can look into the events. */
  #opening: StreamOpening | undefined
  /** What came in this turn of the event loop: read and sent on as one at its end. */
  #pending: Buffer[] = NONE
  /**
   * While it is `opening`, nothing but signs of life has left; while it is `begun`, the client knows that this answer has
   * begun. Both are free, as are bytes that are `held`: the answer is marked as one once, before its first output leaves.
   */
  #state: 'opening' | 'begun' | 'held' | 'passing' | 'over' = 'opening'

  constructor(owner: AnswerOwner, head: AnswerHead, step: Step) {
    this.#owner = owner
    this.#head = head
    const { timeouts } = owner.shared
    const pressure = new Pressure(owner.call.downstream, owner.attempts.current, timeouts.idleTimeoutMs)
    this.#stages = new StreamStages(owner, { step, head, pressure })
    this.#writer = new StreamWriter(owner, head, pressure)
    this.#opening = this.#stages.isReadable() ? new StreamOpening(owner.call.endpoint.dialect) : undefined
  }

  /** Nothing has come for a while: what there is goes ahead, or else a sign of life. */
  patienceEnded(): void {
    if (this.#state === 'over' || this.#pending !== NONE) return
    const isFirst = this.#writer.tellHead()
    const hasLeft = this.#opening && this.#isUndecided() ? this.#tell(this.#opening) : false
    const mayBeat = this.#stages.isReadable() && this.#owner.shared.heartbeatMs > 0
    if (!isFirst && !hasLeft && mayBeat) this.#writer.beat()
  }

  data(chunk: Buffer): void {
    if (this.#state === 'over') return
    if (this.#isUndecided()) this.#open(chunk)
    else this.#queue(chunk)
  }

  hasSpoken(): boolean {
    return this.#state === 'begun' || this.#state === 'passing'
  }

  holdsBack(): boolean {
    return this.#isUndecided() && (this.#opening?.holdsEvents() ?? false)
  }

  failure(): ToldFailure | undefined {
    if (!this.#isUndecided()) return undefined
    const verdict = this.#opening?.end()
    if (!this.#opening || verdict !== 'output') return typeof verdict === 'object' ? verdict : NO_OUTPUT
    this.#hold(this.#opening)
    return undefined
  }

  ended(): Promise<void> {
    if (this.#state === 'over') return Promise.resolve()
    const last = this.#takeLast()
    const { status, headers } = this.#head
    // Without a length or chunks, a connection that breaks looks like one that ends: the protocol's end must be there.
    const isFramed = 'content-length' in headers || 'transfer-encoding' in headers
    if (!last) return this.died(upstreamFailed(TOO_LARGE), 502)
    if (isFramed || this.#stages.sawEnd()) return this.#settle(status, last)
    this.#writer.write(last)
    return this.died(upstreamFailed('The provider broke off its answer'), 502)
  }

  died(error: Error, status: number): Promise<void> {
    this.#flush()
    if (this.#state === 'over') return Promise.resolve()
    this.#writer.fail(error)
    return this.#settle(status, undefined)
  }

  left(): Promise<void> {
    if (this.#state === 'over') return Promise.resolve()
    // Whoever saw a model begin, and leaves, has used its input.
    if (this.#isUndecided() && this.#opening?.hasBegun) this.#hold(this.#opening)
    this.#takeLast()
    return this.#settle(499, undefined)
  }

  drop(): void {
    this.#state = 'over'
    this.#writer.drop()
  }

  /** From here on it costs. */
  #hold(opening: StreamOpening): void {
    this.#pending = opening.take()
    this.#state = 'held'
  }

  #isUndecided(): boolean {
    return this.#state === 'opening' || this.#state === 'begun'
  }

  #open(chunk: Buffer): void {
    const opening = this.#opening
    const verdict = opening ? opening.push(chunk) : 'output'
    if (typeof verdict !== 'string') return this.#owner.failedInside(verdict)
    if (verdict === 'output') {
      const isTold = this.#state === 'begun'
      this.#owner.accept()
      this.#state = 'held'
      this.#opening = undefined
      for (const piece of opening?.take() ?? [chunk]) this.#queue(piece)
      if (isTold) this.#flush()
      return
    }
    // What has begun waits once, for the answer itself may be right behind it.
    const waits = verdict === 'begun' && this.#state === 'opening'
    if (opening && !waits && this.#owner.call.downstream.hasBegun()) this.#tell(opening)
  }

  /** Whether any of it has left: whole events only, for a sign of life may have to follow them. */
  #tell(opening: StreamOpening): boolean {
    if (!opening.isAtBoundary()) return false
    if (opening.hasBegun) this.#state = 'begun'
    const held = opening.take()
    for (const piece of held) this.#writer.write(this.#stages.pass(piece))
    return held.length > 0
  }

  #queue(chunk: Buffer): void {
    if (this.#pending !== NONE) {
      this.#pending.push(chunk)
      return
    }
    this.#pending = [chunk]
    process.nextTick(StreamAnswer.#flushLater, this)
  }

  static #flushLater(answer: StreamAnswer): void {
    answer.#flush()
  }

  #flush(): void {
    // An answer that is whole by now is settled before a byte of it leaves: there is nothing to mark.
    if (this.#state === 'over' || this.#pending === NONE) return
    if (this.#state === 'held') this.#owner.bill.markAnswered(this.#head.status)
    this.#state = 'passing'
    let passing: Buffer
    try {
      passing = this.#stages.pass(this.#take())
    } catch {
      return this.#owner.cutOff(upstreamFailed(TOO_LARGE))
    }
    if (passing.length > 0) this.#writer.write(passing)
    else this.#writer.tellHead()
  }

  #take(): Buffer {
    const [first = NOTHING] = this.#pending
    const bytes = this.#pending.length > 1 ? Buffer.concat(this.#pending) : first
    this.#pending = NONE
    return bytes
  }

  /** It includes the event that had begun: its end never came. Undefined: an event is too large. */
  #takeLast(): Buffer | undefined {
    try {
      return this.#stages.last(this.#take())
    } catch {
      return undefined
    }
  }

  /** The last bytes of a whole answer leave when the charge is on record. */
  async #settle(status: number, last: Buffer | undefined): Promise<void> {
    const costs = !this.#isUndecided()
    // A request that nobody answered may come again, under its key too.
    if (!costs) this.#owner.bill.forgetAttempt()
    this.drop()
    const reading = this.#stages.readOut()
    if (reading) await reading
    const usage = costs ? this.#stages.usage(last !== undefined) : undefined
    const settlement = await this.#owner.bill.settle(status, usage instanceof Promise ? await usage : usage)
    if (last) this.#writer.end(last, creditHeaders(settlement))
  }
}

const TOO_LARGE = 'The provider sent an event that is too large'
const NOTHING = Buffer.alloc(0)
/** Nobody writes to it: an array for each stream would be one too many. */
const NONE: Buffer[] = []
