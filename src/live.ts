/** Something that runs and can be told that the gateway must go. */
export interface Cuttable {
  /** Its place among all that run; `Live` alone writes it. */
  slot: number
  cut(): void
}

/** The exchanges that run at this moment; one per app. */
export interface Live {
  readonly size: number
  add(running: Cuttable): void
  delete(running: Cuttable): void
  cutAll(): void
  /** Resolves when nothing runs, its bill included. */
  empty(): Promise<void>
}

/**
 * An array and not a Set: when a Set outgrows its table, V8 leaves a link from the old table to the new one, and along
 * such links every request would survive until the next full garbage collection (measured: a third of all GC time).
 */
export function createLive(): Live {
  const running: Cuttable[] = []
  const waiting: (() => void)[] = []
  return {
    get size() {
      return running.length
    },
    add(one) {
      one.slot = running.push(one) - 1
    },
    delete(one) {
      if (running[one.slot] !== one) return
      const last = running.pop()
      if (last && last !== one) {
        running[one.slot] = last
        last.slot = one.slot
      }
      if (running.length === 0) for (const resolve of waiting.splice(0)) resolve()
    },
    cutAll() {
      for (const one of [...running]) one.cut()
    },
    empty: () => new Promise((resolve) => (running.length === 0 ? resolve() : waiting.push(resolve))),
  }
}
