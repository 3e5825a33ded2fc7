/** Steps one after the other; one that fails is told and does not keep the next from its turn. */
export class StepQueue {
  isWorking = false
  readonly #failed: (error: unknown) => void
  #last: Promise<void> = Promise.resolve()

  constructor(failed: (error: unknown) => void) {
    this.#failed = failed
  }

  /** Resolves when the step, and so all before it, is over. */
  add(step: () => Promise<void>): Promise<void> {
    this.isWorking = true
    const last = this.#last.then(step).catch(this.#failed)
    this.#last = last
    void last.then(() => {
      if (this.#last === last) this.isWorking = false
    })
    return last
  }
}
