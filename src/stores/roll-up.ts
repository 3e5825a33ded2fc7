import { setTimeout as wait } from 'node:timers/promises'
import { periodOf, planSpans, type RollUpTable, type Span } from './contracts/roll-up.ts'
import type { Warn } from './contracts/store-error.ts'

/** How long one go may hold the event loop, about. */
const GO_MS = 2
/** Between two goes everybody else is served. */
const PAUSE_MS = 25
const [LEAST_ROWS, FIRST_ROWS, MOST_ROWS] = [8, 32, 512]
const LOOK_EVERY_MS = 3_600_000
/** No moment is busier than a start, when all who were sent away come back. */
const FIRST_LOOK_MS = 60_000
const DAY_MS = 86_400_000
/** A clock that is further ahead of what is known than this must say so for a day before rows are rolled up by it. */
const MOST_AHEAD_MS = 7 * DAY_MS

export interface RollUpOptions {
  /** For so many days rows of requests are kept as they are. */
  keptDays: number
  table: RollUpTable
  /** False: nothing can be written now, or somebody else does this. */
  mayGoOn(): boolean
  tell: Warn
  warn: Warn
  /** Milliseconds since 1970, and of a clock that nobody sets. */
  now?: () => number
  steadyMs?: () => number
}

/** Rolls old usage rows up, a little at a time, as long as it is open. */
export interface RollUp {
  /** Resolves when nothing is written any more. */
  close(): Promise<void>
}

export function openRollUp(options: RollUpOptions): RollUp {
  const ending = new AbortController()
  const { signal } = ending
  const clock = new TrustedClock(options)
  let doneUntil = 0
  const look = async (): Promise<void> => {
    if (!options.mayGoOn()) return
    const now = await clock.read()
    if (now === undefined) return
    const spans = planSpans(options.keptDays, now)
    const untilMs = Math.max(...spans.map((span) => span.untilMs))
    if (untilMs > doneUntil && (await rollUp(options, spans, signal))) doneUntil = untilMs
  }
  const run = async (): Promise<void> => {
    const rest = (ms: number) => wait(ms, undefined, { signal, ref: false })
    for (await rest(FIRST_LOOK_MS); ; await rest(LOOK_EVERY_MS))
      await look().catch((error) => {
        // A full disk, or a database that is away: the next look goes on where this one has ended.
        if (!signal.aborted) options.warn({ err: error }, 'old usage rows could not be rolled up yet')
      })
  }
  const running = run().catch(() => undefined)
  return {
    close: async () => {
      ending.abort()
      await running
    },
  }
}

/** Goes through all tokens; whether it came to the end. */
async function rollUp(options: RollUpOptions, spans: readonly Span[], signal: AbortSignal): Promise<boolean> {
  const { table, keptDays } = options
  const goes = new Goes(signal)
  const from = performance.now()
  let rows = 0
  // Who had no token comes first.
  let tokenId: string | undefined = ''
  for (; tokenId !== undefined; tokenId = await table.nextToken(tokenId))
    for (const span of spans) {
      for (;;) {
        await goes.breathe()
        if (signal.aborted || !options.mayGoOn()) return false
        const count = await rollSlice(table, { tokenId, span, goes })
        if (count === 0) break
        rows += count
      }
    }
  if (rows > 0) {
    const seconds = Math.round((performance.now() - from) / 100) / 10
    options.tell({ rows, keptDays, seconds }, 'usage rows beyond USAGE_DAYS are rolled up by day and month')
  }
  return true
}

interface Place {
  tokenId: string
  span: Span
  goes: Goes
}

async function rollSlice(table: RollUpTable, { tokenId, span, goes }: Place): Promise<number> {
  if (span.untilMs <= span.fromMs) return 0
  const oldest = await table.oldest(tokenId, span)
  if (oldest === undefined) return 0
  const slice = { tokenId, span, period: periodOf(span, oldest), most: goes.rows }
  return goes.measure(() => table.rollUp(slice))
}

/** Work in goes of a few milliseconds: slices are as large as the disk of the moment allows. */
class Goes {
  readonly #signal: AbortSignal
  #begunAt = performance.now()
  rows = FIRST_ROWS

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  async breathe(): Promise<void> {
    if (performance.now() - this.#begunAt < GO_MS) return
    await wait(PAUSE_MS, undefined, { signal: this.#signal, ref: false }).catch(() => undefined)
    this.#begunAt = performance.now()
  }

  async measure(slice: () => Promise<number>): Promise<number> {
    const from = performance.now()
    const count = await slice()
    const ms = performance.now() - from
    if (ms > GO_MS) this.rows = Math.max(LEAST_ROWS, this.rows >> 1)
    if (ms < GO_MS / 2) this.rows = Math.min(MOST_ROWS, this.rows << 1)
    return count
  }
}

/**
 * A clock that was set a year ahead must not make all rows old. It is believed while it goes on from the last time that
 * was; what runs further ahead is believed after a day of its own.
 */
class TrustedClock {
  readonly #options: Pick<RollUpOptions, 'table' | 'warn'>
  readonly #now: () => number
  readonly #steadyMs: () => number
  #last: Seen | undefined
  #doubted: Seen | undefined

  constructor({ table, warn, now = Date.now, steadyMs = () => performance.now() }: RollUpOptions) {
    this.#options = { table, warn }
    this.#now = now
    this.#steadyMs = steadyMs
  }

  /** Undefined while nobody knows. */
  async read(): Promise<number | undefined> {
    const { table, warn } = this.#options
    const seen = { at: this.#now(), steadyMs: this.#steadyMs() }
    this.#last ??= { at: (await table.lastTime()) ?? seen.at, steadyMs: seen.steadyMs }
    if (isAhead(seen, this.#last)) {
      this.#doubted ??= await this.#readDoubt(seen)
      if (this.#doubted === undefined || isAhead(seen, this.#doubted)) {
        this.#doubted = seen
        await table.doubt(seen.at)
        const days = Math.round((seen.at - this.#last.at) / DAY_MS)
        warn(
          { days },
          'the clock is days ahead of the last usage: rows are rolled up once it has been so for a day',
        )
      }
      if (seen.steadyMs - this.#doubted.steadyMs < DAY_MS) return undefined
    }
    this.#last = seen
    this.#doubted = undefined
    await table.trust(seen.at)
    return seen.at
  }

  /** A server that is started anew each night has its day too: what one before it doubted goes on. */
  async #readDoubt(seen: Seen): Promise<Seen | undefined> {
    const at = (await this.#options.table.doubted()) ?? Number.POSITIVE_INFINITY
    const agoMs = seen.at - at
    return agoMs < 0 || agoMs > MOST_AHEAD_MS ? undefined : { at, steadyMs: seen.steadyMs - agoMs }
  }
}

interface Seen {
  at: number
  steadyMs: number
}

function isAhead(now: Seen, before: Seen): boolean {
  return now.at - before.at - (now.steadyMs - before.steadyMs) > MOST_AHEAD_MS
}
