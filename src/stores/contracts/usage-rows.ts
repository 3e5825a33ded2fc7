import type { ServiceRow } from './usage-columns.ts'

/** Usage rows that nobody pays for. */
export interface UsageRows {
  /**
   * Puts the row on record within a second, together with others: it never waits and never throws. A process that is
   * killed loses those of its last second. While the store takes none they are gathered; beyond a bound the oldest are
   * dropped, and counted (`StoreSizes.serviceRows`).
   */
  note(row: ServiceRow): void
}
