import type { UsageRow } from './token-store.ts'

/** SQLite would refuse anything else in a STRICT table, and with it all that shares the transaction. */
const whole = (count: number): number =>
  Number.isFinite(count) ? Math.min(Math.max(0, Math.round(count)), Number.MAX_SAFE_INTEGER) : 0

const positive = (amount: number): number => (Number.isFinite(amount) ? Math.max(0, amount) : 0)

/** The row in the order of the columns of the table `usage`, here and in the database of replicas. */
export const usageValues = (row: UsageRow, chargedMicros: number): (string | number)[] => [
  row.requestId,
  row.tokenId,
  row.user,
  row.model,
  row.provider,
  row.modelUsed,
  row.endpoint,
  whole(row.status),
  whole(row.inputTokens),
  whole(row.cachedTokens),
  whole(row.outputTokens),
  whole(row.reasoningTokens),
  positive(row.seconds),
  whole(row.characters),
  whole(row.images),
  row.estimated ? 1 : 0,
  whole(row.costMicros),
  chargedMicros,
  whole(row.latencyMs),
  whole(row.firstByteMs),
  whole(row.attempts),
  whole(row.at),
]
