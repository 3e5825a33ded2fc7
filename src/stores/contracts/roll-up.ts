const DAY_MS = 86_400_000
/** Rows of whole days are themselves rolled up when nobody looks at days any more. */
const MONTHS_AFTER_DAYS = 400

type Unit = 'day' | 'month'

/** Rows from before `untilMs` become one row for each day, or month, and all that tells them apart. */
export interface Span {
  unit: Unit
  fromMs: number
  untilMs: number
}

/** One day or month (UTC) of a span. */
export interface Period {
  fromMs: number
  untilMs: number
  /** The request id of its rows, which no request can have. */
  requestId: string
}

const PREFIXES: Readonly<Record<Unit, string>> = { day: 'day ', month: 'month ' }

/** What must not be taken for the row of one request; as a pattern of SQL's LIKE. */
export const ROLLED_UP: readonly string[] = Object.values(PREFIXES).map((prefix) => `${prefix}%`)

function startOf(unit: Unit, at: number): number {
  const date = new Date(at)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), unit === 'day' ? date.getUTCDate() : 1)
}

function endOf(unit: Unit, fromMs: number): number {
  const date = new Date(fromMs)
  return unit === 'day' ? fromMs + DAY_MS : Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1)
}

/** What is to be rolled up when rows of requests are kept for so many days. */
export function planSpans(keptDays: number, now: number): readonly [Span, Span] {
  const daysUntil = startOf('day', now - keptDays * DAY_MS)
  const monthsUntil = startOf('month', now - Math.max(keptDays, MONTHS_AFTER_DAYS) * DAY_MS)
  return [
    { unit: 'month', fromMs: 0, untilMs: monthsUntil },
    { unit: 'day', fromMs: monthsUntil, untilMs: daysUntil },
  ]
}

/** The period of a span that a row of this time belongs to. */
export function periodOf({ unit, untilMs }: Span, at: number): Period {
  const fromMs = startOf(unit, at)
  const day = new Date(fromMs).toISOString().slice(0, unit === 'day' ? 10 : 7)
  return { fromMs, untilMs: Math.min(endOf(unit, fromMs), untilMs), requestId: `${PREFIXES[unit]}${day}` }
}

/** The patterns of the request ids that a span leaves as they are. */
export function keptBy({ unit }: Span): readonly string[] {
  return unit === 'month' ? [`${PREFIXES.month}%`] : ROLLED_UP
}

/** What is known of the clock, beyond the end of a process. */
export interface ClockNotes {
  /** The latest time that was trusted, or of which there is a sign; undefined: of none. */
  lastTime(): Promise<number | undefined>
  /** The first time that was not trusted since; undefined: all were. */
  doubted(): Promise<number | undefined>
  /** Whatever was doubted before is no longer. */
  trust(time: number): Promise<void>
  doubt(time: number): Promise<void>
}

/** The usage rows of a database, to be rolled up some at a time. */
export interface RollUpTable extends ClockNotes {
  /** The next of the tokens that have rows, in the order of their ids; rows of nobody's token have an empty one. */
  nextToken(after: string): Promise<string | undefined>
  /** The time of the token's first row that the span does not leave as it is. */
  oldest(tokenId: string, span: Span): Promise<number | undefined>
  /**
   * Makes up to `most` of the token's rows a part of the period's, in one transaction in which no sum changes; says how
   * many there were. Before the period's own rows it leaves what `span` leaves.
   */
  rollUp(slice: { tokenId: string; span: Span; period: Period; most: number }): Promise<number>
}
