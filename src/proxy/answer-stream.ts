import type { Transform } from 'node:stream'
import { insufficientQuota, upstreamFailed } from '../errors.ts'
import { estimateUsage, lacksTokens, usualSeconds, withSeconds } from '../metering/estimate.ts'
import { sawEnd } from '../metering/sse.ts'
import { createStreamMeter, type StreamMeter } from '../metering/stream-meter.ts'
import type { Usage } from '../metering/usage-kinds.ts'
import { readReport } from '../metering/usage-report.ts'
import type { Answer, AnswerContext } from './answer.ts'
import { openDecoder, readOut } from './decoder.ts'
import { createHoldGuard } from './hold-guard.ts'
import { createPressure, type Pressure } from './pressure.ts'
import { createUsageFilter, endsEvent, type UsageFilter } from './usage-filter.ts'

/** Server-sent events: each leaves at once; read by the meter, touched only to take the usage chunk out. */
export class StreamAnswer implements Answer {
  readonly #context: AnswerContext
  readonly #pressure: Pressure
  readonly #meter: StreamMeter
  readonly #decoder: Transform | undefined
  readonly #filter: UsageFilter | undefined
  readonly #isOverdrawn: (then: () => void) => void
  /** What came in this turn of the event loop: read and sent on as one at its end. */
  #pending: Buffer[] = []
  #isScheduled = false
  /** A head alone is no answer, and costs nothing. */
  #hasBytes = false
  #isOver = false
  #isMarked = false
  /** The last bytes end an event, so that an error event may follow. */
  #isAtBoundary = true

  constructor(context: AnswerContext, mustHideUsage: boolean) {
    const { downstream, headers, endpoint, status, bill } = context
    this.#context = context
    this.#pressure = createPressure(context)
    this.#meter = createStreamMeter(endpoint.kind)
    this.#decoder = openDecoder(headers['content-encoding'], (plain) => this.#meter.push(plain))
    this.#filter = mustHideUsage && !this.#decoder ? createUsageFilter() : undefined
    this.#isOverdrawn = createHoldGuard(context, this.#meter)
    downstream.begin(status, headers, {
      ...bill.headers(),
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    })
    this.#schedule()
  }

  data(chunk: Buffer): void {
    if (this.#isOver) return
    this.#hasBytes = true
    this.#pending.push(chunk)
    this.#schedule()
  }

  ended(): void {
    if (this.#isOver) return
    const last = this.#takeSafely()
    if (!last) return
    const { headers, endpoint, status } = this.#context
    // Without a length or chunks, a connection that breaks looks like one that ends: the protocol's end must be there.
    const isFramed = 'content-length' in headers || 'transfer-encoding' in headers
    if (!isFramed && !this.#decoder && !sawEnd(endpoint.kind, this.#meter.tail())) {
      this.#write(last)
      return this.#breakOff(upstreamFailed('The provider broke off its answer'), 502)
    }
    const rest = this.#filter?.rest()
    this.#finish(status, rest && rest.length > 0 ? Buffer.concat([last, rest]) : last)
  }

  died(error: Error): void {
    this.#flush()
    this.#breakOff(error, 502)
  }

  left(): void {
    this.#takeSafely()
    this.#finish(499, undefined)
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => this.#flush())
  }

  #flush(): void {
    this.#isScheduled = false
    // An answer that is whole by now is settled before a byte of it leaves: there is nothing to mark.
    if (this.#isOver) return
    this.#mark()
    const bytes = this.#takeSafely()
    if (!bytes) return
    if (bytes.length > 0) this.#write(bytes)
    else this.#context.downstream.response.flushHeaders()
    this.#isOverdrawn(() =>
      this.#breakOff(insufficientQuota('Your balance is used up: this answer was cut here'), 429),
    )
  }

  /** Once, before the first byte leaves. */
  #mark(): void {
    if (this.#isMarked) return
    this.#isMarked = true
    this.#context.bill.markAnswered(this.#context.status)
  }

  #write(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#isAtBoundary = endsEvent(bytes)
    if (!this.#context.downstream.write(bytes)) this.#pressure.hold()
  }

  /** What is pending, counted, without what is not for the client; undefined: the stream was broken off. */
  #takeSafely(): Buffer | undefined {
    const [first] = this.#pending
    if (!first) return NOTHING
    const bytes = this.#pending.length === 1 ? first : Buffer.concat(this.#pending)
    this.#pending = []
    if (this.#decoder) this.#decoder.write(bytes)
    else this.#meter.push(bytes)
    if (!this.#filter) return bytes
    try {
      return this.#filter.pass(bytes)
    } catch {
      this.#breakOff(upstreamFailed('The provider sent an event that is too large'), 502)
      return undefined
    }
  }

  #breakOff(error: Error, status: number): void {
    if (this.#isOver) return
    const { attempt, downstream } = this.#context
    attempt()?.abort()
    if (!this.#isAtBoundary) downstream.write(Buffer.from('\n\n'))
    downstream.fail(error, {})
    this.#finish(status, undefined)
  }

  /** Settles; the last bytes of a whole answer leave when the charge is on record. */
  #finish(status: number, last: Buffer | undefined): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#pressure.end()
    const { bill, downstream, over } = this.#context
    const settle = async (): Promise<void> => {
      if (this.#decoder) await readOut(this.#decoder)
      await bill.settle(status, this.#hasBytes ? await this.#usage(last !== undefined) : undefined)
      if (last) downstream.end(last)
    }
    settle().catch(downstream.cut).finally(over)
  }

  /** The provider's count; where it is missing or cut short, ours. */
  #usage(isComplete: boolean): Usage | Promise<Usage> {
    const { ask, endpoint, price } = this.#context
    const { kind } = endpoint
    const hidden = this.#filter?.report()
    const reported = (hidden && readReport(kind, hidden)) ?? this.#meter.usage()
    const isWhole = isComplete || sawEnd(kind, this.#meter.tail())
    if (reported && isWhole && !lacksTokens(kind, reported, price))
      return withSeconds(reported, ask.seconds, price)
    return estimateRest(this.#context, this.#meter, reported)
  }
}

const NOTHING = Buffer.alloc(0)

const estimateRest = async (
  { ask, endpoint: { kind } }: AnswerContext,
  meter: StreamMeter,
  reported: Usage | undefined,
): Promise<Usage> => {
  const own = await estimateUsage({
    kind,
    requestBody: ask.text?.(),
    meter,
    characters: ask.characters,
    seconds: usualSeconds(ask.seconds),
    images: ask.images,
  })
  if (!reported) return own
  const inputTokens = reported.inputTokens || own.inputTokens
  const outputTokens = Math.max(reported.outputTokens, own.outputTokens)
  return { ...reported, inputTokens, outputTokens, estimated: true }
}
