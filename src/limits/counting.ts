import type { FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import { type DayCounts, type OwnCounts, ROUTE_KEY, type SharedCounts } from '../stores/contracts/places.ts'
import {
  DAY_MS,
  type DayClocks,
  type Kept,
  KeptWindows,
  MINUTE_MS,
  monotonicMs,
  sharedWindows,
  type WindowCount,
  windowStore,
} from './windows.ts'

export interface CountingOptions {
  /** The wall clock, which says when a day ends. */
  now?: (() => number) | undefined
  /** Where they are set, all replicas count together, by the clock of their store. */
  counts?: SharedCounts | undefined
  /** Told how this process counts by itself, for its successor. */
  onCounts?: ((own: OwnCounts) => void) | undefined
  /** Where a process that is alone keeps its days. */
  days?: (() => DayCounts | undefined) | undefined
}

/** Requests by minute and by day: of tokens, and of routes' callers. One for an app, whoever counts in it. */
export interface Counting {
  /**
   * One more in the running window: at once where this process counts alone. Rejects with `store_unavailable`: nobody
   * passes uncounted.
   */
  count(key: string, lengthMs: number): WindowCount | Promise<WindowCount>
  /** The same of tokens, for `createRateLimit`. */
  store: FastifyRateLimitStoreCtor
  /** The next server goes on counting from here. */
  keep(): void
}

/** A flood of new callers of routes is kept in memory alone beyond so many a day. */
const MOST_KEPT_CALLERS = 100_000
/** A successor is told of so many callers of routes, and of none that asked less often. */
const MOST_TOLD_CALLERS = 10_000
const LEAST_TOLD = 10

function isRouteKey(key: string): boolean {
  return key.startsWith(ROUTE_KEY)
}

function isTokenKey(key: string): boolean {
  return !isRouteKey(key)
}

export function openCounting({ now = Date.now, counts, onCounts, days }: CountingOptions): Counting {
  const alone = new OwnCounting({ wallMs: now, monotonicMs }, { days, counts })
  const countAlone = (key: string, lengthMs: number): WindowCount => alone.count(key, lengthMs)
  const countTokens = alone.tokens.count.bind(alone.tokens)
  onCounts?.(alone.told())
  const keep = (): void => alone.keep()
  if (counts === undefined) return { count: countAlone, store: windowStore(countTokens), keep }
  return {
    count: (key, lengthMs) => {
      const counted = counts.count(key, lengthMs === MINUTE_MS ? 'minute' : 'day')
      if (counted === undefined) return countAlone(key, lengthMs)
      return counted.then((found) =>
        found === undefined ? countAlone(key, lengthMs) : { current: found.count, ttl: found.endsInMs },
      )
    },
    store: sharedWindows(counts, countTokens),
    keep,
  }
}

/** How this process counts while it is alone: on from what it was told before. */
class OwnCounting {
  readonly tokens: KeptWindows
  /** Apart from those of tokens: however many callers of routes there are, no token is forgotten for them. */
  readonly #routes: KeptWindows

  constructor(clocks: DayClocks, { days, counts }: Pick<CountingOptions, 'days' | 'counts'>) {
    const keptOf = (isOwn: (key: string) => boolean): Kept => ({
      days: () => pickDays(days?.(), isOwn),
      carried: () => counts?.carried?.().filter(({ tokenId }) => isOwn(tokenId)) ?? [],
    })
    this.tokens = new KeptWindows(clocks, keptOf(isTokenKey))
    this.#routes = new KeptWindows(clocks, keptOf(isRouteKey), MOST_KEPT_CALLERS)
  }

  count(key: string, lengthMs: number): WindowCount {
    return (isRouteKey(key) ? this.#routes : this.tokens).count(key, lengthMs)
  }

  keep(): void {
    this.tokens.keep()
    this.#routes.keep()
  }

  told(): OwnCounts {
    return {
      count: (key, window) => {
        const { current, ttl } = this.count(key, window === 'minute' ? MINUTE_MS : DAY_MS)
        return { count: current, endsInMs: ttl }
      },
      minutes: () =>
        [...this.tokens.minutes(), ...this.#busyCallers()].map(({ key, current, ttl }) => ({
          tokenId: key,
          count: current,
          endsInMs: ttl,
        })),
    }
  }

  *#busyCallers() {
    let told = 0
    for (const one of this.#routes.minutes()) {
      if (one.current < LEAST_TOLD) continue
      if (++told > MOST_TOLD_CALLERS) return
      yield one
    }
  }
}

/** The part of a day's counts that `isOwn`. */
function pickDays(days: DayCounts | undefined, isOwn: (key: string) => boolean): DayCounts | undefined {
  if (days === undefined) return undefined
  return {
    read: (day) => new Map([...days.read(day)].filter(([key]) => isOwn(key))),
    write: days.write,
  }
}
