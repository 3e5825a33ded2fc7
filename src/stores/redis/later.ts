const MOST_KEPT = 10_000

/** Small things that Redis could not be told, such as a place that is free again: told once it answers. */
export class Later {
  #kept: (() => Promise<unknown>)[] = []

  /** Does it now, or later; never throws. What does not fit any more dies with its owner. */
  do(work: () => Promise<unknown>): Promise<void> {
    return work().then(
      () => undefined,
      () => {
        if (this.#kept.length < MOST_KEPT) this.#kept.push(work)
      },
    )
  }

  catchUp(): void {
    const kept = this.#kept
    this.#kept = []
    for (const work of kept) void this.do(work)
  }
}
