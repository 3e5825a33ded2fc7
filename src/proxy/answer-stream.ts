import type { Transform } from 'node:stream'
import { createGunzip, createInflate } from 'node:zlib'
import { insufficientQuota, upstreamFailed } from '../errors.ts'
import { countTokens, estimateUsage } from '../metering/estimate.ts'
import { createEventSplitter, type EventSplitter, isUsageOnlyEvent, sawEnd } from '../metering/sse.ts'
import { createStreamMeter, type StreamMeter } from '../metering/stream-meter.ts'
import type { Usage } from '../metering/usage-kinds.ts'
import type { Answer, AnswerContext } from './answer.ts'
import { createPressure, type Pressure } from './pressure.ts'

/** A stream is weighed against its hold first after so many bytes per output token that the hold covers. */
const BYTES_PER_COVERED_TOKEN = 4
const LEAST_BYTES_BETWEEN_WEIGHINGS = 2_048

/** Server-sent events: each leaves at once; read by the meter, touched only to take the usage chunk out. */
export class StreamAnswer implements Answer {
  readonly #context: AnswerContext
  readonly #pressure: Pressure
  readonly #meter: StreamMeter
  readonly #decoder: Transform | undefined
  readonly #splitter: EventSplitter | undefined
  readonly #isOverdrawn: (then: () => void) => void
  /** What came in this turn of the event loop; goes out as one write at its end. */
  #pending: Buffer[] = []
  #isOver = false
  /** The last bytes end an event, so that an error event may follow. */
  #isAtBoundary = true

  constructor(context: AnswerContext, mustHideUsage: boolean) {
    const { downstream, headers, endpoint, status, bill } = context
    this.#context = context
    this.#pressure = createPressure(context)
    this.#meter = createStreamMeter(endpoint.kind)
    this.#decoder = openDecoder(headers['content-encoding'], (plain) => this.#meter.push(plain))
    this.#splitter = mustHideUsage && !this.#decoder ? createEventSplitter() : undefined
    this.#isOverdrawn = createHoldGuard(context, this.#meter)
    bill.markAnswered(status)
    downstream.begin(status, headers, {
      ...bill.headers(),
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    })
    downstream.response.flushHeaders()
  }

  data(chunk: Buffer): void {
    if (this.#isOver) return
    if (this.#decoder) this.#decoder.write(chunk)
    else this.#meter.push(chunk)
    try {
      this.#forward(chunk)
    } catch {
      return this.#breakOff(upstreamFailed('The provider sent an event that is too large'), 502)
    }
    this.#isOverdrawn(() =>
      this.#breakOff(insufficientQuota('Your balance is used up: this answer was cut here'), 429),
    )
  }

  ended(): void {
    if (this.#isOver) return
    const rest = this.#splitter?.rest()
    if (rest && rest.length > 0) this.#send(rest)
    const { headers, endpoint, status } = this.#context
    // Without a length or chunks, a connection that breaks looks like one that ends: the protocol's end must be there.
    const isFramed = 'content-length' in headers || 'transfer-encoding' in headers
    if (isFramed || this.#decoder || sawEnd(endpoint.kind, this.#meter.tail())) this.#finish(status, true)
    else this.#breakOff(upstreamFailed('The provider broke off its answer'), 502)
  }

  died(error: Error): void {
    this.#breakOff(error, 502)
  }

  left(): void {
    this.#finish(499, false)
  }

  #forward(chunk: Buffer): void {
    const splitter = this.#splitter
    if (!splitter || (splitter.rest().length === 0 && isPlainlyWhole(chunk))) return this.#send(chunk)
    for (const event of splitter.push(chunk)) if (!isUsageOnlyEvent(event)) this.#send(event)
  }

  #send(bytes: Buffer): void {
    this.#pending.push(bytes)
    if (this.#pending.length === 1) process.nextTick(() => this.#flush())
  }

  #flush(): void {
    const [first] = this.#pending
    if (this.#isOver || !first) return
    const bytes = this.#pending.length === 1 ? first : Buffer.concat(this.#pending)
    this.#pending = []
    this.#isAtBoundary = endsEvent(bytes)
    if (!this.#context.downstream.write(bytes)) this.#pressure.hold()
  }

  #breakOff(error: Error, status: number): void {
    if (this.#isOver) return
    const { attempt, downstream } = this.#context
    attempt()?.abort()
    this.#flush()
    if (!this.#isAtBoundary) downstream.write(Buffer.from('\n\n'))
    downstream.fail(error, {})
    this.#finish(status, false)
  }

  #finish(status: number, isComplete: boolean): void {
    if (this.#isOver) return
    this.#flush()
    this.#isOver = true
    this.#pressure.end()
    this.#decoder?.destroy()
    const { bill, downstream, over } = this.#context
    const settle = async (): Promise<void> => {
      await bill.settle(status, await usageOf(this.#context, this.#meter, isComplete))
      if (isComplete) downstream.end()
    }
    settle().catch(downstream.cut).finally(over)
  }
}

/** Most chunks are whole events that cannot be the usage chunk: they pass as they are. */
const isPlainlyWhole = (chunk: Buffer): boolean =>
  endsEvent(chunk) && !chunk.includes('[]') && !chunk.includes('[ ]')

const endsEvent = (bytes: Buffer): boolean => {
  const { length } = bytes
  if (bytes[length - 1] !== 0x0a) return false
  return bytes[length - 2] === 0x0a || (bytes[length - 2] === 0x0d && bytes[length - 3] === 0x0a)
}

const openDecoder = (
  encoding: string | undefined,
  onPlain: (plain: Buffer) => void,
): Transform | undefined => {
  if (!encoding || encoding === 'identity') return undefined
  const decoder = encoding === 'deflate' ? createInflate() : createGunzip()
  // Bytes that cannot be read are counted by estimate; they pass to the client as they came.
  return decoder.on('data', onPlain).on('error', () => {})
}

/** The provider's count; where it is missing or cut short, ours. */
const usageOf = async (context: AnswerContext, meter: StreamMeter, isComplete: boolean): Promise<Usage> => {
  const { kind } = context.endpoint
  const reported = meter.usage()
  if (reported && (isComplete || sawEnd(kind, meter.tail()))) return reported
  const { ask } = context
  const own = await estimateUsage({
    kind,
    requestBody: ask.text,
    meter,
    characters: ask.characters,
    seconds: ask.seconds,
    images: ask.images,
  })
  if (!reported) return own
  const outputTokens = Math.max(reported.outputTokens, own.outputTokens)
  return { ...reported, outputTokens, estimated: true }
}

/** Tells when what has passed costs more than was set aside; cheap until a stream comes near. */
const createHoldGuard = (context: AnswerContext, meter: StreamMeter): ((cut: () => void) => void) => {
  const { price, ask, heldMicros } = context
  if (price.outputMicros <= 0 || context.endpoint.kind === 'free') return () => {}
  const inputMicros = Math.ceil(ask.inputTokens / 4) * price.inputMicros
  const covered = Math.max(0, heldMicros - inputMicros) / price.outputMicros
  // A limit that the client named is kept by the provider: such a stream is only watched for one that runs away.
  const perToken = ask.outputLimit === undefined ? BYTES_PER_COVERED_TOKEN : BYTES_PER_COVERED_TOKEN * 150
  let nextAt = covered * perToken
  let isWeighing = false
  return (cut) => {
    if (meter.bytes < nextAt || isWeighing) return
    isWeighing = true
    const { text, share } = meter.outputText()
    countTokens(text).then((tokens) => {
      isWeighing = false
      nextAt = meter.bytes + Math.max(LEAST_BYTES_BETWEEN_WEIGHINGS, meter.bytes / 10)
      if (share > 0 && tokens / share > covered) cut()
    }, cut)
  }
}
