import fastifyRateLimit, {
  type FastifyRateLimitStore,
  type FastifyRateLimitStoreCtor,
  type RateLimitOptions,
} from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import type { DayCounts, SharedCounts } from '../stores/contracts/places.ts'

export const MINUTE_MS = 60_000
export const DAY_MS = 86_400_000

interface Window {
  count: number
  endsAt: number
}

/** How often somebody asked in the running window, and how long it lasts. */
export interface WindowCount {
  current: number
  ttl: number
}

type Answer = (failure: Error | null, result?: WindowCount) => void

const FIRST_SWEEP_KEYS = 10_000
/** This bound stops floods of new addresses; it is far above the number of tokens. */
const MOST_KEYS = 1_000_000
/** So many at once are forgotten beyond it: to look for one at each new key would stop the process. */
const FORGOTTEN_KEYS = 100_000

/** Those that came first. */
function forgetOldest(keys: Map<string, unknown>): void {
  let left = FORGOTTEN_KEYS
  for (const key of keys.keys()) {
    if (left-- === 0) return
    keys.delete(key)
  }
}

/** Whole milliseconds of the clock that nobody sets. */
export function monotonicMs(): number {
  return Math.floor(performance.now())
}

/** Windows by key, each from its first request on. */
export class Windows {
  readonly #windows = new Map<string, Window>()
  readonly #now: () => number
  #sweepAbove = FIRST_SWEEP_KEYS

  constructor(now = monotonicMs) {
    this.#now = now
  }

  count(key: string, lengthMs: number): WindowCount {
    const at = this.#now()
    const running = this.#windows.get(key)
    // A window that ends later than a new one would was begun by a clock that was set back since.
    const isRunning = running !== undefined && running.endsAt > at && running.endsAt - at <= lengthMs
    const window = isRunning ? running : this.#open(key, at, lengthMs)
    window.count++
    return { current: window.count, ttl: window.endsAt - at }
  }

  /** What was counted elsewhere counts here. */
  carry(key: string, count: number, endsInMs: number): void {
    const before = this.#windows.get(key)
    const endsAt = this.#now() + endsInMs
    if (endsInMs > 0 && (before?.count ?? 0) < count) this.#windows.set(key, { count, endsAt })
  }

  /** The windows that run. */
  *running(): Generator<WindowCount & { key: string }> {
    const at = this.#now()
    for (const [key, { count, endsAt }] of this.#windows)
      if (endsAt > at) yield { key, current: count, ttl: endsAt - at }
  }

  #open(key: string, at: number, lengthMs: number): Window {
    if (this.#windows.size >= this.#sweepAbove) this.#sweep(at)
    const window = { count: 0, endsAt: at + lengthMs }
    this.#windows.set(key, window)
    return window
  }

  #sweep(at: number): void {
    for (const [key, { endsAt }] of this.#windows) if (endsAt <= at) this.#windows.delete(key)
    if (this.#windows.size >= MOST_KEYS - FORGOTTEN_KEYS) forgetOldest(this.#windows)
    this.#sweepAbove = Math.min(MOST_KEYS, Math.max(FIRST_SWEEP_KEYS, this.#windows.size * 2))
  }
}

/** `createRateLimit` asks for a class. */
export function windowStore(count: (key: string, lengthMs: number) => WindowCount) {
  return class WindowStore implements FastifyRateLimitStore {
    incr(key: string, answer: Answer, timeWindowMs: number): void {
      answer(null, count(key, timeWindowMs))
    }

    /** The options of `createRateLimit`, which may name a store of their own. */
    child(options: object): FastifyRateLimitStore {
      const { store: Store }: RateLimitOptions = options
      return Store ? new Store({}) : this
    }
  }
}

/**
 * Windows that all replicas count in, until this process is `alone`. A store that does not answer refuses the request:
 * nobody passes uncounted.
 */
export function sharedWindows(
  counts: SharedCounts,
  alone: (tokenId: string, lengthMs: number) => WindowCount,
): FastifyRateLimitStoreCtor {
  return class SharedWindows implements FastifyRateLimitStore {
    incr(tokenId: string, answer: Parameters<FastifyRateLimitStore['incr']>[1], timeWindowMs: number): void {
      const counting = counts.count(tokenId, timeWindowMs === MINUTE_MS ? 'minute' : 'day')
      if (counting === undefined) return answer(null, alone(tokenId, timeWindowMs))
      counting.then(
        (counted) => {
          if (counted === undefined) return answer(null, alone(tokenId, timeWindowMs))
          answer(null, { current: counted.count, ttl: counted.endsInMs })
        },
        (error: Error) => answer(error),
      )
    }

    child(): FastifyRateLimitStore {
      return this
    }
  }
}

/**
 * Makes `app.createRateLimit` count in windows of our own. The package's own store forgets keys above 5,000, and hands
 * all who ask in the same moment one shared object, so that each reads the count of the last and all are refused.
 */
export async function registerWindows(app: FastifyInstance): Promise<void> {
  if (app.hasDecorator('createRateLimit')) return
  const windows = new Windows()
  const store: FastifyRateLimitStoreCtor = windowStore((key, lengthMs) => windows.count(key, lengthMs))
  await app.register(fastifyRateLimit, { global: false, store })
}

/** At most so much of what was counted is lost with a process that is killed. */
const KEEP_EVERY_MS = 1_000
/** Two clocks that nobody set drift apart by less in a day. */
const DRIFT_MS = 60_000

interface Day {
  count: number
  isKept: boolean
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
 * Days (UTC) of tokens, or of routes' callers. The wall clock alone knows midnight, but the day that it began lasts no longer than it promised:
 * set back, it renews nobody's wait. Set forward over midnight, it begins a new day.
 */
export class Days {
  readonly #days = new Map<string, Day>()
  readonly #clocks: DayClocks
  readonly #findKept: () => DayCounts | undefined
  #kept: DayCounts | undefined
  readonly #mostKept: number
  /** How many of this day's keys are kept. */
  #keptKeys = 0
  /** Keys whose count is not kept yet. */
  #unkept = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  /** The day that was swept for last. */
  #sweptFor = 0

  /** `findKept` is asked until it has an answer. Beyond `mostKept` keys a day the others die with the process. */
  constructor(
    clocks: DayClocks,
    findKept: () => DayCounts | undefined = () => undefined,
    mostKept = Number.POSITIVE_INFINITY,
  ) {
    this.#clocks = clocks
    this.#findKept = findKept
    this.#mostKept = mostKept
  }

  count(id: string): WindowCount {
    const wall = this.#clocks.wallMs()
    const at = this.#clocks.monotonicMs()
    const today = Math.floor(wall / DAY_MS)
    const leftMs = DAY_MS - (wall % DAY_MS)
    if (this.#kept === undefined) this.#readKept(today, at + leftMs)
    const running = this.#days.get(id)
    const isOver = running === undefined || running.number < today || running.endsAt + DRIFT_MS <= at
    const day = isOver ? this.#open(id, today, at + leftMs) : running
    // A midnight that has come nearer counts, and one that was promised.
    day.endsAt = Math.min(day.endsAt, at + leftMs)
    day.count++
    if (day.isKept) this.#unkept.add(id)
    this.#timer ??= setTimeout(() => this.keep(), KEEP_EVERY_MS).unref()
    return { current: day.count, ttl: day.endsAt > at ? day.endsAt - at : Math.min(leftMs, DRIFT_MS) }
  }

  /** The next server goes on counting from here. */
  keep(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    // Of the day before nothing is asked any more.
    const today = this.#sweptFor
    const counts = new Map<string, number>()
    for (const id of this.#unkept) {
      const day = this.#days.get(id)
      if (day?.number === today) counts.set(id, day.count)
    }
    if (counts.size === 0 || this.#kept?.write(today, counts) === true) this.#unkept = new Set()
  }

  /** What the server before this one has counted of the day that runs. */
  #readKept(today: number, endsAt: number): void {
    this.#kept = this.#findKept()
    if (this.#kept === undefined) return
    for (const [id, count] of this.#kept.read(today)) {
      const day = this.#days.get(id) ?? this.#open(id, today, endsAt)
      // Where it came late, this server has counted by itself meanwhile.
      if (day.number === today) day.count += count
    }
  }

  #open(id: string, number: number, endsAt: number): Day {
    if (number !== this.#sweptFor) this.#sweep(number)
    if (this.#days.size >= MOST_KEYS) forgetOldest(this.#days)
    const isKept = this.#keptKeys < this.#mostKept
    if (isKept) this.#keptKeys++
    const day = { count: 0, isKept, number, endsAt }
    this.#days.set(id, day)
    return day
  }

  /** The first request of a day takes away what is over. */
  #sweep(today: number): void {
    this.#sweptFor = today
    for (const [id, { number }] of this.#days) if (number < today) this.#days.delete(id)
    this.#keptKeys = this.#days.size
  }
}

/** What was counted before this process, or elsewhere. */
export interface Kept {
  days(): DayCounts | undefined
  carried(): readonly { tokenId: string; count: number; endsInMs: number }[]
}

/** Minutes and days of one kind of key. */
export class KeptWindows {
  readonly #minutes = new Windows()
  readonly #days: Days
  readonly #kept: Kept
  #isCarried = false

  constructor(clocks: DayClocks, kept: Kept, mostKept?: number) {
    this.#kept = kept
    this.#days = new Days(clocks, kept.days, mostKept)
  }

  count(key: string, lengthMs: number): WindowCount {
    if (!this.#isCarried) this.#carry()
    return lengthMs === DAY_MS ? this.#days.count(key) : this.#minutes.count(key, lengthMs)
  }

  minutes(): Generator<WindowCount & { key: string }> {
    return this.#minutes.running()
  }

  keep(): void {
    this.#days.keep()
  }

  #carry(): void {
    this.#isCarried = true
    for (const { tokenId, count, endsInMs } of this.#kept.carried())
      this.#minutes.carry(tokenId, count, endsInMs)
  }
}
