/** Something that runs and can be told that the gateway must go. */
export interface Cuttable {
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

export const createLive = (): Live => {
  const running = new Set<Cuttable>()
  const waiting: (() => void)[] = []
  return {
    get size() {
      return running.size
    },
    add: (one) => void running.add(one),
    delete(one) {
      running.delete(one)
      if (running.size === 0) for (const resolve of waiting.splice(0)) resolve()
    },
    cutAll() {
      for (const one of [...running]) one.cut()
    },
    empty: () => new Promise((resolve) => (running.size === 0 ? resolve() : waiting.push(resolve))),
  }
}
