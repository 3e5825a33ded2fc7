/** What waits: how many, and for how long the first of them has. */
export interface Waiting {
  count: number
  oldestMs: number
}

/** How large a store is and what waits in it; what a driver does not have, or cannot ask now, is undefined. */
export interface StoreSizes {
  tokens?: number | undefined
  /** Bytes on the disk by file; all that belong together under one name. */
  files: Readonly<Record<string, number>>
  /** Answers kept under idempotency keys. */
  answerBytes?: number | undefined
  /** Credits that requests of this process have set aside. */
  holds: Waiting
  /** Bills that are decided and not on record yet. */
  unsettled: Waiting
  /** Changes that wait for the next transaction of the file store. */
  commitQueue?: number | undefined
  /** Usage rows in Redis, on their way to the database, and those that were dropped there. */
  usageRowsWaiting?: number | undefined
  usageRowsLost?: number | undefined
  /** Rows of services that wait in this process for the store, and those that it has dropped since its start. */
  serviceRows: { waiting: number; dropped: number }
  /** The usage rows of single requests, about, and how old the oldest is. */
  usageRows?: number | undefined
  usageOldestMs?: number | undefined
}

/** What a map holds, whose entries come and go in about the order in which they were put in. */
export function waitingOf(open: ReadonlyMap<unknown, { since: number }>, now: number): Waiting {
  for (const { since } of open.values()) return { count: open.size, oldestMs: now - since }
  return { count: 0, oldestMs: 0 }
}
