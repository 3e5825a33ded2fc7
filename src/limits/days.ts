import { DAY_MS, type WindowCount } from './windows.ts'

/** Two clocks that nobody set drift apart by less in a day. */
const DRIFT_MS = 60_000

interface Day {
  count: number
  /** Days since 1970, by the wall clock of its beginning. */
  number: number
  /** Its end by the monotonic clock. */
  endsAt: number
}

export interface DayClocks {
  /** Milliseconds since 1970: says when midnight (UTC) is, and may be set at any moment. */
  wallMs(): number
  monotonicMs(): number
}

/**
 * Days (UTC) of tokens. The wall clock alone knows midnight, but the day that it began lasts no longer than it promised:
 * set back, it renews nobody's wait. Set forward over midnight, it begins a new day.
 */
export class Days {
  readonly #days = new Map<string, Day>()
  readonly #clocks: DayClocks
  /** The day that was swept for last. */
  #sweptFor = 0

  constructor(clocks: DayClocks) {
    this.#clocks = clocks
  }

  count(id: string): WindowCount {
    const wall = this.#clocks.wallMs()
    const at = this.#clocks.monotonicMs()
    const today = Math.floor(wall / DAY_MS)
    const leftMs = DAY_MS - (wall % DAY_MS)
    const running = this.#days.get(id)
    const isOver = running === undefined || running.number < today || running.endsAt + DRIFT_MS <= at
    const day = isOver ? this.#open(id, today, at + leftMs) : running
    // A midnight that has come nearer counts, and one that was promised.
    day.endsAt = Math.min(day.endsAt, at + leftMs)
    day.count++
    return { current: day.count, ttl: day.endsAt > at ? day.endsAt - at : Math.min(leftMs, DRIFT_MS) }
  }

  #open(id: string, number: number, endsAt: number): Day {
    if (number !== this.#sweptFor) this.#sweep(number)
    const day = { count: 0, number, endsAt }
    this.#days.set(id, day)
    return day
  }

  /** The first request of a day takes away what is over. */
  #sweep(today: number): void {
    this.#sweptFor = today
    for (const [id, { number }] of this.#days) if (number < today) this.#days.delete(id)
  }
}
