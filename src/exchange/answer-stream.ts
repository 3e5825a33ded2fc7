import type { Transform } from 'node:stream'
import { createGunzip, createInflate } from 'node:zlib'
import { creditHeaders } from '../billing/bill.ts'
import type { Price } from '../config/catalog/catalog.ts'
import type { Usage } from '../dialects/usage.ts'
import { upstreamFailed } from '../errors.ts'
import { sawEnd } from '../metering/sse.ts'
import { createStreamMeter, type StreamMeter } from '../metering/stream-meter.ts'
import type { Step } from '../routing/plan.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import type { Pressure } from './downstream.ts'
import { HoldGuard } from './hold-guard.ts'
import { usageOfStream } from './stream-usage.ts'
import { createUsageFilter, endsEvent, type UsageFilter } from './usage-filter.ts'

/** Server-sent events: each leaves at once; read by the meter, touched only to take the usage chunk out. */
export class StreamAnswer implements Answer {
  readonly #owner: AnswerOwner
  readonly #head: AnswerHead
  readonly #price: Price
  readonly #pressure: Pressure
  readonly #meter: StreamMeter
  readonly #decoder: Transform | undefined
  readonly #filter: UsageFilter | undefined
  readonly #guard: HoldGuard
  /** What came in this turn of the event loop: read and sent on as one at its end. */
  #pending: Buffer[] = NONE
  #isScheduled = false
  /** A head alone is no answer, and costs nothing. */
  #hasBytes = false
  /** A crash charges nothing while it is `held`; it is marked once, before its first byte leaves. */
  #state: 'held' | 'marked' | 'over' = 'held'
  /** The last bytes end an event, so that an error event may follow. */
  #isAtBoundary = true

  constructor(owner: AnswerOwner, head: AnswerHead, step: Step) {
    const { ask, endpoint } = owner.call
    const { price } = step.model
    this.#owner = owner
    this.#head = head
    this.#price = price
    this.#pressure = owner.openPressure()
    this.#meter = createStreamMeter(endpoint.dialect)
    this.#decoder = openDecoder(head.headers['content-encoding'], (plain) => this.#meter.push(plain))
    this.#filter =
      ask.mustAskForUsage && !ask.wantsUsage && step.provider.usageOption && !this.#decoder
        ? createUsageFilter()
        : undefined
    this.#guard = new HoldGuard(owner.call, price, this.#meter)
    this.#schedule()
  }

  data(chunk: Buffer): void {
    if (this.#state === 'over') return
    this.#hasBytes = true
    if (this.#pending.length === 0) this.#pending = [chunk]
    else this.#pending.push(chunk)
    this.#schedule()
  }

  ended(): void {
    if (this.#state === 'over') return
    const last = this.#takeLast()
    if (!last) return
    const { status, headers } = this.#head
    // Without a length or chunks, a connection that breaks looks like one that ends: the protocol's end must be there.
    const isFramed = 'content-length' in headers || 'transfer-encoding' in headers
    if (!isFramed && !this.#decoder && !sawEnd(this.#owner.call.endpoint.dialect, this.#meter.tail())) {
      this.#write(last)
      return this.#breakOff(upstreamFailed('The provider broke off its answer'), 502)
    }
    this.#finish(status, last)
  }

  died(error: Error): void {
    this.#flush()
    this.#breakOff(error, 502)
  }

  left(): void {
    this.#takeSafely()
    this.#finish(499, undefined)
  }

  drop(): void {
    this.#state = 'over'
    this.#pressure.end()
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(StreamAnswer.#flushLater, this)
  }

  static #flushLater(answer: StreamAnswer): void {
    answer.#flush()
  }

  #flush(): void {
    this.#isScheduled = false
    // An answer that is whole by now is settled before a byte of it leaves: there is nothing to mark.
    if (this.#state === 'over') return
    this.#mark()
    const bytes = this.#takeSafely()
    if (!bytes) return
    this.#begin({})
    if (bytes.length > 0) this.#write(bytes)
    else this.#owner.call.downstream.response.flushHeaders()
    if (!this.#guard.isDue()) return
    this.#guard.weigh((why) => this.#breakOff(why, why.statusCode))
  }

  /** The mark is made once, before the first byte leaves. */
  #mark(): void {
    if (this.#state !== 'held') return
    this.#state = 'marked'
    this.#owner.bill.markAnswered(this.#head.status)
  }

  /** The client's head: with the first bytes, or for a silent stream without any. */
  #begin(extra: Record<string, string>): void {
    const { downstream } = this.#owner.call
    if (downstream.hasBegun()) return
    const own = this.#owner.bill.headers()
    own['cache-control'] = 'no-cache'
    own['x-accel-buffering'] = 'no'
    downstream.begin(this.#head.status, this.#head.headers, Object.assign(own, extra))
  }

  #write(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#begin({})
    this.#isAtBoundary = endsEvent(bytes)
    if (!this.#owner.call.downstream.write(bytes)) this.#pressure.hold()
  }

  /** What is pending, counted, without what is not for the client; undefined: the stream was broken off. */
  #takeSafely(): Buffer | undefined {
    const first = this.#pending[0]
    if (!first) return NOTHING
    const bytes = this.#pending.length === 1 ? first : Buffer.concat(this.#pending)
    this.#pending = NONE
    try {
      const passing = this.#filter ? this.#filter.pass(bytes) : bytes
      if (this.#decoder) this.#decoder.write(bytes)
      else this.#meter.push(passing)
      return passing
    } catch {
      this.#breakOff(upstreamFailed('The provider sent an event that is too large'), 502)
      return undefined
    }
  }

  /** It includes the event that had begun: its end never came, and the client gets what there is. */
  #takeLast(): Buffer | undefined {
    const bytes = this.#takeSafely()
    const rest = this.#filter?.rest()
    if (!bytes || !rest || rest.length === 0) return bytes
    this.#meter.push(rest)
    return Buffer.concat([bytes, rest])
  }

  #breakOff(error: Error, status: number): void {
    if (this.#state === 'over') return
    const { downstream } = this.#owner.call
    this.#owner.attempt()?.abort()
    this.#begin({})
    if (!this.#isAtBoundary) downstream.write(Buffer.from('\n\n'))
    downstream.fail(error, {})
    this.#finish(status, undefined)
  }

  /** Settles; the last bytes of a whole answer leave when the charge is on record. */
  #finish(status: number, last: Buffer | undefined): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#pressure.end()
    void this.#settle(status, last)
  }

  #usage(isComplete: boolean): Usage | Promise<Usage> {
    return usageOfStream(this.#owner.call, this.#price, {
      meter: this.#meter,
      filter: this.#filter,
      isComplete,
    })
  }

  async #settle(status: number, last: Buffer | undefined): Promise<void> {
    const { bill, call } = this.#owner
    try {
      if (this.#decoder) await readOut(this.#decoder)
      const usage = this.#hasBytes ? this.#usage(last !== undefined) : undefined
      const settlement = await bill.settle(status, usage instanceof Promise ? await usage : usage)
      if (!last) return this.#owner.over()
      // An answer of which nothing has left yet goes as one piece, with its price.
      this.#begin({ ...creditHeaders(settlement), 'content-length': String(last.length) })
      call.downstream.end(last)
    } catch {
      call.downstream.cut()
    }
    this.#owner.over()
  }
}

const NOTHING = Buffer.alloc(0)
/** Nobody writes to it: an array for each stream would be one too many. */
const NONE: Buffer[] = []

/**
 * The meter alone reads through it: a compressed stream passes to the client as it is. Undefined: it is not compressed.
 */
function openDecoder(encoding: string | undefined, onPlain: (plain: Buffer) => void): Transform | undefined {
  if (!encoding || encoding === 'identity') return undefined
  const decoder = encoding === 'deflate' ? createInflate() : createGunzip()
  // Bytes that cannot be read are counted by estimate; they pass to the client as they came.
  return decoder.on('data', onPlain).on('error', () => {})
}

/** It works on other threads: what it was given last, the report too, comes out later. */
function readOut(decoder: Transform): Promise<void> {
  return new Promise((resolve) => {
    if (decoder.closed) resolve()
    else decoder.once('close', resolve).end()
  })
}
