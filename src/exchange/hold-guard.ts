import { setTimeout as pause } from 'node:timers/promises'
import { STREAM_STEP_TOKENS } from '../billing/hold.ts'
import type { Price } from '../config/catalog/catalog.ts'
import type { Usage } from '../dialects/usage.ts'
import { GatewayError, gatewayBusy, insufficientQuota, storeUnavailable } from '../errors.ts'
import { countTokens, estimateInput } from '../metering/estimate.ts'
import { costMicros } from '../metering/price.ts'
import type { StreamMeter } from '../metering/stream-meter.ts'
import type { AnswerOwner, Stage } from './answer.ts'
import type { Pressure } from './downstream.ts'
import type { PaidCall } from './paid-call.ts'

/** A stream's first bytes are weighed as if each LLM token of output had no more than these, framing and all. */
const LEAST_BYTES_PER_TOKEN = 4
const LEAST_BYTES_BETWEEN_WEIGHINGS = 2_048
/** A limit that the client named is kept by the provider: such a stream is only watched for one that runs away. */
const BYTES_PER_LIMITED_TOKEN = 600
/** A further step is taken when less than this share of one is left. */
const LEFT_SHARE = 0.5
/** How long a stream that needs a further step waits for a store that cannot be asked, and how often it asks. */
const STORE_PATIENCE_MS = 30_000
const STORE_RETRY_MS = 250

interface Watched {
  meter: StreamMeter
  pressure: Pressure
}

/**
 * Keeps a stream's hold ahead of what it costs: it takes a further step of credits before that is used, and tells when
 * none can be had. Cheap: it counts about twice a step.
 */
export class HoldGuard implements Stage {
  readonly #owner: AnswerOwner
  readonly #price: Price
  readonly #meter: StreamMeter
  readonly #pressure: Pressure
  #heldMicros: number
  #nextAt: number
  /** From here on all that is held may be used: the provider waits until it has been weighed. */
  #mostAt: number
  #isWeighing = false
  #input: Usage | undefined

  constructor(owner: AnswerOwner, price: Price, { meter, pressure }: Watched) {
    this.#owner = owner
    this.#price = price
    this.#meter = meter
    this.#pressure = pressure
    this.#heldMicros = owner.call.hold.micros
    this.#nextAt = firstWeighing(owner.call, price)
    this.#mostAt = this.#nextAt + LEAST_BYTES_BETWEEN_WEIGHINGS
  }

  pass(bytes: Buffer): Buffer {
    const seen = this.#meter.bytes()
    if (seen < this.#nextAt) return bytes
    if (!this.#isWeighing) this.#begin()
    if (seen >= this.#mostAt) this.#pressure.holdUncovered()
    return bytes
  }

  /** The bill is next: nothing more will be used. */
  last(bytes: Buffer): Buffer {
    return bytes
  }

  #begin(): void {
    this.#isWeighing = true
    this.#weigh().then(
      (why) => {
        this.#isWeighing = false
        if (why) this.#owner.cutOff(why)
        else this.#pressure.covered()
      },
      // Nobody could say what it costs.
      () => this.#owner.cutOff(gatewayBusy('The gateway could not count this answer: it was cut here')),
    )
  }

  async #weigh(): Promise<GatewayError | undefined> {
    const { ask, endpoint, token } = this.#owner.call
    const key = token.id
    const bytes = this.#meter.bytes()
    const facts = { dialect: endpoint.dialect, key, requestBody: ask.text?.(), meter: this.#meter }
    this.#input ??= await estimateInput(facts)
    const { text, share } = this.#meter.outputText()
    const outputTokens = Math.ceil((await countTokens(text, key)) / share)
    const micros = costMicros({ ...this.#input, outputTokens }, this.#price)
    const stepMicros = STREAM_STEP_TOKENS * this.#price.outputMicros
    const isNear = this.#heldMicros - micros < stepMicros * LEFT_SHARE
    const trouble = isNear ? await this.#raisePatiently(micros, stepMicros) : undefined
    const leftTokens = Math.max(0, this.#heldMicros - micros) / this.#price.outputMicros
    const bytesPerToken = Math.max(LEAST_BYTES_PER_TOKEN, bytes / Math.max(1, outputTokens))
    const leftBytes = Math.max(LEAST_BYTES_BETWEEN_WEIGHINGS, leftTokens * bytesPerToken)
    this.#nextAt = bytes + Math.max(LEAST_BYTES_BETWEEN_WEIGHINGS, leftBytes * LEFT_SHARE)
    this.#mostAt = bytes + leftBytes
    if (micros <= this.#heldMicros) return undefined
    return trouble ?? insufficientQuota('Your balance is used up: this answer was cut here')
  }

  /** Nobody is cut for an outage that is over soon: the provider waits meanwhile, once all that is held may be used. */
  async #raisePatiently(micros: number, stepMicros: number): Promise<GatewayError | undefined> {
    const untilMs = performance.now() + STORE_PATIENCE_MS
    const { response } = this.#owner.call.downstream
    for (;;) {
      const trouble = await this.#raise(micros + stepMicros)
      const mayWait = performance.now() < untilMs && !response.destroyed && !response.writableEnded
      if (!trouble || micros <= this.#heldMicros || !mayWait) return trouble
      await pause(STORE_RETRY_MS, undefined, { ref: false })
    }
  }

  /** As much as is wanted, or whatever is free; the error of a store that cannot be asked just now. */
  async #raise(wantedMicros: number): Promise<GatewayError | undefined> {
    const { tokens, hold } = this.#owner.call
    try {
      const raised = await tokens.raise(hold.id, Math.ceil(wantedMicros), this.#heldMicros + 1)
      if (raised) this.#heldMicros = raised.micros
      return undefined
    } catch (error) {
      return error instanceof GatewayError
        ? error
        : storeUnavailable('This answer could not be paid for just now')
    }
  }
}

/** This is only a guess of when to weigh, in bytes; the weighing counts as the bill will. */
function firstWeighing({ ask, hold, endpoint }: PaidCall, price: Price): number {
  if (price.outputMicros <= 0 || endpoint.dialect.isFree) return Number.POSITIVE_INFINITY
  const inputMicros = Math.ceil(ask.inputTokens / 4) * price.inputMicros
  const covered = Math.max(0, hold.micros - inputMicros) / price.outputMicros
  const isWhole = ask.outputLimit !== undefined && ask.outputLimit * ask.choices <= covered
  return covered * (isWhole ? BYTES_PER_LIMITED_TOKEN : LEAST_BYTES_PER_TOKEN)
}
