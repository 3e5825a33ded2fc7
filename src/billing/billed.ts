/** The moment when a request's charge is known: what the request line waits for. */
export class Billed {
  #isOver = false
  #then: (() => void) | undefined

  /** Calls `then` once, at once when the moment is past. */
  whenBilled(then: () => void): void {
    if (this.#isOver) then()
    else this.#then = then
  }

  /** Twice is once: a client may leave while its answer's bill is on the way, and both ends come here. */
  over(): void {
    this.#isOver = true
    const then = this.#then
    this.#then = undefined
    then?.()
  }
}
