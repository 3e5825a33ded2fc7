import { StepHold } from '../billing/step-hold.ts'
import type { Price } from '../config/catalog/catalog.ts'
import type { Usage } from '../dialects/usage.ts'
import { type GatewayError, gatewayBusy } from '../errors.ts'
import { estimateInput } from '../metering/estimate.ts'
import type { StreamMeter } from '../metering/stream-meter.ts'
import type { AnswerOwner, Stage } from './answer.ts'
import type { Pressure } from './downstream.ts'

interface Watched {
  meter: StreamMeter
  pressure: Pressure
}

/** Keeps a stream's hold ahead of what it costs, and ends it where nothing more can be held. It counts about twice a step. */
export class HoldGuard implements Stage {
  readonly #owner: AnswerOwner
  readonly #meter: StreamMeter
  readonly #pressure: Pressure
  readonly #held: StepHold
  #isWeighing = false
  #input: Usage | undefined

  constructor(owner: AnswerOwner, price: Price, { meter, pressure }: Watched) {
    const { ask, hold, tokens: store, token } = owner.call
    this.#owner = owner
    this.#meter = meter
    this.#pressure = pressure
    this.#held = new StepHold({ store, hold, price, meter, key: token.id }, ask)
  }

  /** The provider waits where all that is held may be used, until that has been weighed. */
  pass(bytes: Buffer): Buffer {
    const seen = this.#meter.bytes()
    if (seen < this.#held.nextAt) return bytes
    if (!this.#isWeighing) this.#begin()
    if (seen >= this.#held.mostAt) this.#pressure.holdUncovered()
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
    const { ask, endpoint, token, downstream } = this.#owner.call
    const { response } = downstream
    const facts = { dialect: endpoint.dialect, key: token.id, requestBody: ask.text?.(), meter: this.#meter }
    this.#input ??= await estimateInput(facts)
    return this.#held.weigh(this.#input, () => !response.destroyed && !response.writableEnded)
  }
}
