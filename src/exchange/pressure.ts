import type { AnswerContext } from './answer.ts'

/** Back-pressure from a slow reader to its provider. */
export class Pressure {
  readonly #context: AnswerContext
  #stall: NodeJS.Timeout | undefined

  constructor(context: AnswerContext) {
    this.#context = context
  }

  /** The client's buffer is full: the provider waits until it has drained; a reader that stalls for good is cut. */
  hold(): void {
    if (this.#stall) return
    const { downstream, exchange, shared } = this.#context
    exchange.attempt()?.pause()
    this.#stall = setTimeout(() => downstream.response.destroy(), shared.timeouts.idleTimeoutMs)
    downstream.response.once('drain', () => {
      this.end()
      exchange.attempt()?.resume()
    })
  }

  end(): void {
    clearTimeout(this.#stall)
    this.#stall = undefined
  }
}
