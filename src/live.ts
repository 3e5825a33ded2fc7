/** Something that runs and can be told that the gateway must go. */
export interface Cuttable {
  /** Its place among all that run; `Live` alone writes it. */
  slot: number
  cut(): void
  /** The hash of the secret that it runs for, if it ends with that; undefined: it does not, or sees to it itself. */
  secretHash?(): string | undefined
  /** The secret is no longer valid. */
  expire?(): void
}

/** The exchanges that run at this moment; one per app. */
export interface Live {
  readonly size: number
  add(running: Cuttable): void
  delete(running: Cuttable): void
  cutAll(): void
  /** The secrets whose end would end something. */
  secretHashes(): Set<string>
  expire(secretHash: string): void
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
    secretHashes() {
      const found = new Set<string>()
      for (const one of running) {
        const hash = one.secretHash?.()
        if (hash !== undefined) found.add(hash)
      }
      return found
    },
    expire(secretHash) {
      for (const one of [...running]) if (one.secretHash?.() === secretHash) one.expire?.()
    },
    empty: () => new Promise((resolve) => (running.length === 0 ? resolve() : waiting.push(resolve))),
  }
}

/** How often secrets are looked at: what runs for a revoked token ends within a second. */
const LOOK_MS = 400

/** Ends what runs for a secret that would not be let in any more; the caller ends the watch by what is returned. */
export function watchSecrets(live: Live, isUsable: (secretHash: string) => Promise<boolean>): () => void {
  const asking = new Set<string>()
  const look = async (hash: string): Promise<void> => {
    asking.add(hash)
    // A store that cannot be asked says nothing against the token.
    const mayStay = await isUsable(hash).catch(() => true)
    asking.delete(hash)
    if (!mayStay) live.expire(hash)
  }
  const timer = setInterval(() => {
    for (const hash of live.secretHashes()) if (!asking.has(hash)) void look(hash)
  }, LOOK_MS).unref()
  return () => clearInterval(timer)
}
