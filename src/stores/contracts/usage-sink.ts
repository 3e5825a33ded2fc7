import type { UsageRow } from './token-store.ts'

/** A usage row on its way into the database. */
export interface UsageEntry {
  /** Unique for all time: the same entry twice is one row. */
  key: string
  chargedMicros: number
  row: UsageRow
}

/** Where usage rows end up. */
export interface UsageSink {
  /** All of them or none, and none twice; they are on record when it resolves. */
  write(entries: readonly UsageEntry[]): Promise<void>
  close(): Promise<void>
}
