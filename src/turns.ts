/** Work that is too long for one go: bytes are read in pieces, and between two pieces the event loop serves everybody. */
export interface Turns {
  /**
   * Calls `step` once a turn until it says true; rejects with what it throws. Whoever has several such works has no more
   * turns for that: keys (tokens) take theirs one after the other.
   */
  run(key: string, step: () => boolean): Promise<void>
}

/** One step's share of the event loop: others wait for one of these, whatever the body. */
export const TURN_MS = 2

interface Work {
  step(): boolean
  resolve(): void
  reject(error: unknown): void
}

/** One round for the whole app: with one for each user, two would take two turns in one go. */
export function createTurns(): Turns {
  /** The works in the order of their next turns. */
  const lines = new Map<string, Work[]>()
  let isDue = false
  const plan = (): void => {
    if (isDue || lines.size === 0) return
    isDue = true
    setImmediate(takeTurn)
  }
  const takeTurn = (): void => {
    isDue = false
    for (const [key, works] of lines) {
      lines.delete(key)
      const [work] = works
      if (!work || isOver(work)) works.shift()
      if (works.length > 0) lines.set(key, works)
      break
    }
    plan()
  }
  return {
    run: (key, step) =>
      new Promise((resolve, reject) => {
        const works = lines.get(key) ?? []
        works.push({ step, resolve, reject })
        lines.set(key, works)
        plan()
      }),
  }
}

function isOver({ step, resolve, reject }: Work): boolean {
  try {
    if (!step()) return false
    resolve()
  } catch (error) {
    reject(error)
  }
  return true
}
