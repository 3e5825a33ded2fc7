import { creditHeaders } from '../billing/bill.ts'
import { upstreamFailed } from '../errors.ts'
import type { Step } from '../routing/plan.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import { StreamStages } from './stages.ts'
import { StreamWriter } from './stream-writer.ts'

/** Server-sent events: each leaves at once, through a row of stages of which nearly all only read. */
export class StreamAnswer implements Answer {
  readonly #owner: AnswerOwner
  readonly #head: AnswerHead
  readonly #stages: StreamStages
  readonly #writer: StreamWriter
  /** What came in this turn of the event loop: read and sent on as one at its end. */
  #pending: Buffer[] = NONE
  /**
   * A head alone is `silent`: no answer, and it costs nothing. A crash charges nothing while bytes are `held` either; the
   * answer is marked once, before its first byte leaves.
   */
  #state: 'silent' | 'held' | 'passing' | 'over' = 'silent'

  constructor(owner: AnswerOwner, head: AnswerHead, step: Step) {
    this.#owner = owner
    this.#head = head
    this.#stages = new StreamStages(owner.call, { step, head }, (why) => owner.cutOff(why))
    this.#writer = new StreamWriter(owner, head)
  }

  /** Nothing has come for a while: the head goes ahead. */
  tellHead(): void {
    this.#writer.tellHead()
  }

  data(chunk: Buffer): void {
    if (this.#state === 'over') return
    if (this.#state === 'silent') this.#state = 'held'
    if (this.#pending !== NONE) {
      this.#pending.push(chunk)
      return
    }
    this.#pending = [chunk]
    process.nextTick(StreamAnswer.#flushLater, this)
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
    this.#takeLast()
    return this.#settle(499, undefined)
  }

  drop(): void {
    this.#state = 'over'
    this.#writer.drop()
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
    const costs = this.#state !== 'silent'
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
