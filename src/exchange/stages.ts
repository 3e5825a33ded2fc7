import type { Transform } from 'node:stream'
import { createGunzip, createInflate } from 'node:zlib'
import type { Usage } from '../dialects/usage.ts'
import { estimateUsage } from '../metering/estimate.ts'
import { sawEnd } from '../metering/sse.ts'
import { createStreamMeter, type StreamMeter } from '../metering/stream-meter.ts'
import { lacksTokens, usualSeconds, withSeconds } from '../metering/usage.ts'
import type { Step } from '../routing/plan.ts'
import type { AnswerHead, AnswerOwner, Stage } from './answer.ts'
import type { Pressure } from './downstream.ts'
import { HoldGuard } from './hold-guard.ts'
import type { PaidCall } from './paid-call.ts'
import { createUsageFilter, type UsageFilter } from './usage-filter.ts'

/**
 * The row of a stream: the usage chunk is hidden, what passes is counted, decoded where it is compressed, and weighed
 * against the hold. Only stages that this stream needs stand in it; where none changes anything the provider's own
 * buffers pass.
 */
export class StreamStages {
  readonly #call: PaidCall
  readonly #step: Step
  readonly #row: readonly Stage[]
  readonly #meter: StreamMeter
  readonly #filter: UsageFilter | undefined
  readonly #decoder: Transform | undefined

  constructor(owner: AnswerOwner, { step, head, pressure }: Answered) {
    const { call } = owner
    this.#call = call
    this.#step = step
    this.#meter = createStreamMeter(call.endpoint.dialect)
    this.#decoder = openDecoder(head.headers['content-encoding'], this.#meter)
    const { mustAskForUsage, wantsUsage } = call.ask
    const hides = mustAskForUsage && !wantsUsage && step.provider.usageOption && !this.#decoder
    this.#filter = hides ? createUsageFilter() : undefined
    const meter = new MeterStage(this.#meter, this.#decoder)
    const guard = new HoldGuard(owner, step.model.price, { meter: this.#meter, pressure })
    this.#row = this.#filter ? [this.#filter, meter, guard] : [meter, guard]
  }

  pass(bytes: Buffer): Buffer {
    let passing = bytes
    for (const stage of this.#row) passing = stage.pass(passing)
    return passing
  }

  last(bytes: Buffer): Buffer {
    let passing = bytes
    for (const stage of this.#row) passing = stage.last(passing)
    return passing
  }

  /** Whether events can be told apart: nobody looks into compressed ones on their way. */
  isReadable(): boolean {
    return this.#decoder === undefined
  }

  /** Whether the bytes themselves say that the answer is whole; nobody can tell of a compressed one. */
  sawEnd(): boolean {
    return this.#decoder !== undefined || sawEnd(this.#call.endpoint.dialect, this.#meter.tail())
  }

  /** Resolves once the meter has seen all bytes; undefined: it has. */
  readOut(): Promise<void> | undefined {
    return this.#decoder && readOut(this.#decoder)
  }

  /** What the stream used: the provider's count; where it is missing or cut short, ours. */
  usage(isComplete: boolean): Usage | Promise<Usage> {
    const { ask, endpoint } = this.#call
    const { dialect } = endpoint
    const hidden = this.#filter?.report()
    const reported = (hidden && dialect.readReport(hidden)) ?? this.#meter.usage()
    const isWhole = isComplete || sawEnd(dialect, this.#meter.tail())
    const { price } = this.#step.model
    if (reported && isWhole && !lacksTokens(dialect, reported, price))
      return withSeconds(reported, ask.seconds, price)
    return this.#estimate(reported)
  }

  async #estimate(reported: Usage | undefined): Promise<Usage> {
    const { ask, endpoint, token } = this.#call
    const own = await estimateUsage({
      dialect: endpoint.dialect,
      key: token.id,
      requestBody: ask.text?.(),
      meter: this.#meter,
      characters: ask.characters,
      seconds: usualSeconds(ask.seconds),
      images: ask.images,
    })
    if (!reported) return own
    const inputTokens = reported.inputTokens || own.inputTokens
    const outputTokens = Math.max(reported.outputTokens, own.outputTokens)
    return { ...reported, inputTokens, outputTokens, estimated: true }
  }
}

/** Who answered, and how the answer begins. */
export interface Answered {
  step: Step
  head: AnswerHead
  pressure: Pressure
}

/** It reads and changes nothing; a compressed stream is read through its decoder, and passes as it is. */
class MeterStage implements Stage {
  readonly #meter: StreamMeter
  readonly #decoder: Transform | undefined

  constructor(meter: StreamMeter, decoder: Transform | undefined) {
    this.#meter = meter
    this.#decoder = decoder
  }

  pass(bytes: Buffer): Buffer {
    if (this.#decoder) this.#decoder.write(bytes)
    else this.#meter.push(bytes)
    return bytes
  }

  last(bytes: Buffer): Buffer {
    return this.pass(bytes)
  }
}

/** Undefined: it is not compressed. */
function openDecoder(encoding: string | undefined, meter: StreamMeter): Transform | undefined {
  if (!encoding || encoding === 'identity') return undefined
  const decoder = encoding === 'deflate' ? createInflate() : createGunzip()
  // Bytes that cannot be read are counted by estimate; they pass to the client as they came.
  return decoder.on('data', (plain: Buffer) => meter.push(plain)).on('error', () => {})
}

/** It works on other threads: what it was given last, the report too, comes out later. */
function readOut(decoder: Transform): Promise<void> {
  return new Promise((resolve) => {
    if (decoder.closed) resolve()
    else decoder.once('close', resolve).end()
  })
}
