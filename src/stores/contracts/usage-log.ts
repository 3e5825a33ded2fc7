import type { ChargedRow, UsageRow } from './usage-columns.ts'

/** A usage row on its way into the log. */
export interface UsageEntry {
  /** Unique for all time: the same entry twice is one row. */
  key: string
  chargedMicros: number
  row: UsageRow
}

/** Which rows are asked for: those of a token whose requests came from `fromMs` on and before `untilMs`. */
export interface UsageQuestion {
  tokenId: string
  fromMs: number
  untilMs: number
  /** So many rows at most. */
  most: number
  /** What the page before has said. */
  after?: UsageCursor | undefined
}

/** Where a page ended: at this request's row, of which `seen` are known by now (a late charge is a second row). */
export interface UsageCursor {
  at: number
  requestId: string
  seen: number
}

/** Rows in the order in which their requests came. */
export interface UsagePage {
  rows: readonly ChargedRow[]
  /** Undefined: these were the last. */
  next: UsageCursor | undefined
}

/** Where usage rows end up. */
export interface UsageLog {
  /** All of them or none, and none twice; they are on record when it resolves. */
  write(entries: readonly UsageEntry[]): Promise<void>
  read(question: UsageQuestion): Promise<UsagePage>
  close(): Promise<void>
}

/** The page that so many rows make, one more of them read than the question wants. */
export function pageOf(found: readonly ChargedRow[], { most, after }: UsageQuestion): UsagePage {
  const rows = found.slice(0, most)
  const last = rows.at(-1)
  if (last === undefined || found.length <= most) return { rows, next: undefined }
  const { at, requestId } = last
  const own = rows.filter((row) => row.at === at && row.requestId === requestId).length
  const before = after?.at === at && after.requestId === requestId ? after.seen : 0
  return { rows, next: { at, requestId, seen: before + own } }
}
