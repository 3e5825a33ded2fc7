import type { Price } from '../config/catalog/catalog.ts'
import type { Usage } from '../dialects/usage.ts'
import { countTokens, estimateInput } from '../metering/estimate.ts'
import { costMicros } from '../metering/price.ts'
import type { StreamMeter } from '../metering/stream-meter.ts'
import type { PaidCall } from './paid-call.ts'

/** A stream is weighed against its hold first after so many bytes per output token that the hold covers. */
const BYTES_PER_COVERED_TOKEN = 4
const LEAST_BYTES_BETWEEN_WEIGHINGS = 2_048

/** Tells when what has passed costs more than was set aside; cheap until a stream comes near. */
export class HoldGuard {
  readonly #call: PaidCall
  readonly #price: Price
  readonly #meter: StreamMeter
  #nextAt: number
  #isWeighing = false
  #input: Usage | undefined

  constructor(call: PaidCall, price: Price, meter: StreamMeter) {
    this.#call = call
    this.#price = price
    this.#meter = meter
    this.#nextAt = firstWeighing(call, price)
  }

  /** Whether it is time to weigh. */
  isDue(): boolean {
    return this.#meter.bytes() >= this.#nextAt && !this.#isWeighing
  }

  /** Calls `cut` when it is so. */
  weigh(cut: () => void): void {
    this.#isWeighing = true
    this.#isTooDear().then((is) => {
      this.#isWeighing = false
      const bytes = this.#meter.bytes()
      this.#nextAt = bytes + Math.max(LEAST_BYTES_BETWEEN_WEIGHINGS, bytes / 10)
      if (is) cut()
    }, cut)
  }

  async #isTooDear(): Promise<boolean> {
    const { ask, endpoint, hold, token } = this.#call
    const key = token.id
    const facts = { dialect: endpoint.dialect, key, requestBody: ask.text?.(), meter: this.#meter }
    this.#input ??= await estimateInput(facts)
    const { text, share } = this.#meter.outputText()
    const outputTokens = Math.ceil((await countTokens(text, key)) / share)
    return costMicros({ ...this.#input, outputTokens }, this.#price) > hold.micros
  }
}

/** This is only a guess of when to weigh, in bytes; the weighing counts as the bill will. */
function firstWeighing({ ask, hold, endpoint }: PaidCall, price: Price): number {
  if (price.outputMicros <= 0 || endpoint.dialect.isFree) return Number.POSITIVE_INFINITY
  const inputMicros = Math.ceil(ask.inputTokens / 4) * price.inputMicros
  const covered = Math.max(0, hold.micros - inputMicros) / price.outputMicros
  // A limit that the client named is kept by the provider: such a stream is only watched for one that runs away.
  return covered * (ask.outputLimit === undefined ? BYTES_PER_COVERED_TOKEN : BYTES_PER_COVERED_TOKEN * 150)
}
