import { setTimeout as pause } from 'node:timers/promises'
import type { Price } from '../config/catalog/catalog.ts'
import type { Usage } from '../dialects/usage.ts'
import { GatewayError, insufficientQuota, storeUnavailable } from '../errors.ts'
import { countTokens } from '../metering/estimate.ts'
import { type CostFacts, costMicros } from '../metering/price.ts'
import type { StreamMeter } from '../metering/stream-meter.ts'
import type { Accounts, Hold } from '../stores/contracts/accounts.ts'
import { STREAM_STEP_TOKENS } from './hold.ts'

/** Known of the input is an upper bound, nearly a token for each byte: about so many bytes are one. */
const INPUT_BYTES_PER_TOKEN = 4
/** An answer's first bytes are weighed as if each LLM token of output had no more than these, framing and all. */
const LEAST_BYTES_PER_TOKEN = 4
const LEAST_BYTES_BETWEEN_WEIGHINGS = 2_048
/** A limit that the client named is kept by the provider: such an answer is only watched for one that runs away. */
const BYTES_PER_LIMITED_TOKEN = 600
/** A further step is taken when less than this share of one is left. */
const LEFT_SHARE = 0.5
/** How long an answer that needs a further step waits for a store that cannot be asked, and how often it asks. */
const STORE_PATIENCE_MS = 30_000
const STORE_RETRY_MS = 250

interface StepHoldOptions {
  store: Pick<Accounts, 'raise'>
  hold: Hold
  price: Price
  meter: StreamMeter
  /** Whose texts take turns at the tokenizer. */
  key: string
}

/** The hold of an answer that passes: it grows by steps, each taken before it is used. */
export class StepHold {
  readonly #options: StepHoldOptions
  #heldMicros: number
  /** How many bytes of the answer are to pass before it is weighed again. */
  nextAt: number
  /** From so many bytes on, all that is held may be used. */
  mostAt: number

  /** `contextTokens`: further input that the request does not repeat. */
  constructor(options: StepHoldOptions, facts: CostFacts, contextTokens = 0) {
    this.#options = options
    this.#heldMicros = options.hold.micros
    this.nextAt = firstWeighing(options, facts, contextTokens)
    this.mostAt = this.nextAt + LEAST_BYTES_BETWEEN_WEIGHINGS
  }

  /**
   * Counts what has passed, as the bill will, and takes a further step; resolves with why the answer may not go on, if
   * nothing more is to be had. A store that is away is waited for while `isWaitedFor`.
   */
  async weigh(input: Usage, isWaitedFor: () => boolean): Promise<GatewayError | undefined> {
    const { meter, price, key } = this.#options
    const bytes = meter.bytes()
    const { text, share } = meter.outputText()
    const outputTokens = Math.ceil((await countTokens(text, key)) / share)
    const micros = costMicros({ ...input, outputTokens }, price)
    const stepMicros = STREAM_STEP_TOKENS * price.outputMicros
    const isNear = this.#heldMicros - micros < stepMicros * LEFT_SHARE
    const trouble = isNear ? await this.#raisePatiently(micros, stepMicros, isWaitedFor) : undefined
    const leftTokens = Math.max(0, this.#heldMicros - micros) / price.outputMicros
    const bytesPerToken = Math.max(LEAST_BYTES_PER_TOKEN, bytes / Math.max(1, outputTokens))
    const leftBytes = Math.max(LEAST_BYTES_BETWEEN_WEIGHINGS, leftTokens * bytesPerToken)
    this.nextAt = bytes + Math.max(LEAST_BYTES_BETWEEN_WEIGHINGS, leftBytes * LEFT_SHARE)
    this.mostAt = bytes + leftBytes
    if (micros <= this.#heldMicros) return undefined
    return trouble ?? insufficientQuota('Your balance is used up: this answer was cut here')
  }

  /** Nobody is cut for an outage that is over soon. */
  async #raisePatiently(
    micros: number,
    stepMicros: number,
    isWaitedFor: () => boolean,
  ): Promise<GatewayError | undefined> {
    const untilMs = performance.now() + STORE_PATIENCE_MS
    for (;;) {
      const trouble = await this.#raise(micros + stepMicros)
      const mayWait = performance.now() < untilMs && isWaitedFor()
      if (!trouble || micros <= this.#heldMicros || !mayWait) return trouble
      await pause(STORE_RETRY_MS, undefined, { ref: false })
    }
  }

  /** As much as is wanted, or whatever is free; the error of a store that cannot be asked just now. */
  async #raise(wantedMicros: number): Promise<GatewayError | undefined> {
    const { store, hold } = this.#options
    try {
      const raised = await store.raise(hold.id, Math.ceil(wantedMicros), this.#heldMicros + 1)
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
function firstWeighing({ hold, price }: StepHoldOptions, facts: CostFacts, contextTokens: number): number {
  if (price.outputMicros <= 0 || facts.dialect.isFree) return Number.POSITIVE_INFINITY
  const inputTokens = Math.ceil(facts.inputTokens / INPUT_BYTES_PER_TOKEN) + contextTokens
  const covered = Math.max(0, hold.micros - inputTokens * price.inputMicros) / price.outputMicros
  const isWhole = facts.outputLimit !== undefined && facts.outputLimit * facts.choices <= covered
  return covered * (isWhole ? BYTES_PER_LIMITED_TOKEN : LEAST_BYTES_PER_TOKEN)
}
