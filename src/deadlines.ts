const TICK_MS = 50

/** Something that is to happen unless it is called off. */
export interface Deadline {
  /** It runs out in so many milliseconds from now, whatever was left before. */
  start(ms: number): void
  /** It runs out as if its last `start` had been of so many milliseconds. */
  reach(ms: number): void
  /** It begins the last `start` once more. */
  again(): void
  stop(): void
}

/**
 * Timeouts that hardly ever run out, up to 100 ms late; one for each app. A request has five of them: to begin and end
 * one costs a place in an array, where a timer of Node's own costs five to ten times as much. They keep no process alive.
 */
export class Deadlines {
  readonly #running: Running[] = []
  #ticker: NodeJS.Timeout | undefined
  /** The monotonic clock as of the last tick: to read it for every start would cost more than all the rest. */
  #tickedMs = 0

  open(onDue: () => void): Deadline {
    return new Running(this, onDue)
  }

  /** `Running` alone calls this and `end`. */
  begin(one: Running): void {
    if (!this.#ticker) {
      this.#tickedMs = performance.now()
      this.#ticker = setInterval(() => this.#tick(), TICK_MS).unref()
    }
    one.dueMs = this.#tickedMs + TICK_MS + one.ms
    if (one.slot === -1) one.slot = this.#running.push(one) - 1
  }

  end(one: Running): void {
    if (one.slot === -1) return
    const last = this.#running.pop()
    if (last && last !== one) {
      this.#running[one.slot] = last
      last.slot = one.slot
    }
    one.slot = -1
  }

  /**
   * They end in the order in which they were due, however late this tick is; one may stop another or begin it again.
   */
  #tick(): void {
    const now = performance.now()
    this.#tickedMs = now
    const due = this.#running.filter(({ dueMs }) => dueMs <= now).sort((a, b) => a.dueMs - b.dueMs)
    for (const one of due) {
      if (one.slot === -1 || one.dueMs > now) continue
      this.end(one)
      one.onDue()
    }
    if (this.#running.length > 0) return
    clearInterval(this.#ticker)
    this.#ticker = undefined
  }
}

class Running implements Deadline {
  readonly #all: Deadlines
  readonly onDue: () => void
  ms = 0
  dueMs = 0
  /** Its place among those that run; -1: it does not. */
  slot = -1

  constructor(all: Deadlines, onDue: () => void) {
    this.#all = all
    this.onDue = onDue
  }

  start(ms: number): void {
    this.ms = ms
    this.#all.begin(this)
  }

  reach(ms: number): void {
    this.dueMs += ms - this.ms
    this.ms = ms
  }

  again(): void {
    this.#all.begin(this)
  }

  stop(): void {
    this.#all.end(this)
  }
}

/** What `work` comes to, or `late` when it takes longer than `ms`; the work itself goes on. The process waits for either. */
export async function within(ms: number, work: Promise<unknown>, late?: unknown): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<unknown>((resolve) => {
    timer = setTimeout(resolve, ms, late)
  })
  return Promise.race([work, over]).finally(() => clearTimeout(timer))
}
