/** SQLite would refuse anything else in a STRICT table, and with it all that shares the transaction. */
function toWhole(value: unknown): number {
  const count = Number(value)
  if (Number.isSafeInteger(count) && count >= 0) return count
  return Number.isFinite(count) ? Math.min(Math.max(0, Math.round(count)), Number.MAX_SAFE_INTEGER) : 0
}

/** A row of one request does not say so, nor does one of before there were others. */
function toRequests(value: unknown): number {
  return Math.max(1, toWhole(value))
}

function toAmount(value: unknown): number {
  const amount = Number(value)
  return Number.isFinite(amount) ? Math.max(0, amount) : 0
}

/** A row of before a column was there has nothing for it. */
function toText(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** PostgreSQL refuses a NUL, and with it all that is written together; names that others have chosen may have one. */
function toStoredText(value: unknown): string {
  const text = toText(value)
  return text.includes('\0') ? text.replaceAll('\0', '\uFFFD') : text
}

function toFlag(value: unknown): boolean {
  return value === true || Number(value) === 1
}

/**
 * The types of columns: in the ledger (STRICT), in the usage log (SQLite and PostgreSQL), what is written for a field,
 * and the field read back (PostgreSQL answers a bigint as text).
 */
const TYPES = {
  text: { strict: 'TEXT', log: 'text', write: toStoredText, read: toText },
  code: { strict: 'INTEGER', log: 'integer', write: toWhole, read: Number },
  count: { strict: 'INTEGER', log: 'bigint', write: toWhole, read: Number },
  /** A sum that must be right is written as it is: the database refuses what is no number. */
  charge: { strict: 'INTEGER', log: 'bigint', write: Number, read: Number },
  requests: { strict: 'INTEGER', log: 'bigint', write: toRequests, read: toRequests },
  amount: { strict: 'REAL', log: 'double precision', write: toAmount, read: Number },
  flag: {
    strict: 'INTEGER',
    log: 'integer',
    write: (value: unknown) => (toFlag(value) ? 1 : 0),
    read: toFlag,
  },
} as const

/** One column of the usage tables and the field of the row that it holds. */
export interface UsageColumn {
  name: string
  field: string
  type: keyof typeof TYPES
  /** The field stands in the request's log line as it is in the row. */
  inLine?: true
  /** Paid requests have nothing in it. */
  ofServices?: true
}

/** What is known of a request once it is over: whatever writes, reads or moves a usage row follows this list. */
export const USAGE_COLUMNS = [
  { name: 'request_id', field: 'requestId', type: 'text' },
  { name: 'token_id', field: 'tokenId', type: 'text' },
  { name: 'user', field: 'user', type: 'text' },
  // The model is the one that the client asked for.
  { name: 'model', field: 'model', type: 'text' },
  // Who answered, and with which model, is empty when nobody did.
  { name: 'provider', field: 'provider', type: 'text' },
  { name: 'model_used', field: 'modelUsed', type: 'text' },
  { name: 'endpoint', field: 'endpoint', type: 'text' },
  // The HTTP status is 499 when the client left first, an error's when an answer that had begun was cut.
  { name: 'status', field: 'status', type: 'code', inLine: true },
  { name: 'input_tokens', field: 'inputTokens', type: 'count', inLine: true },
  { name: 'cached_tokens', field: 'cachedTokens', type: 'count', inLine: true },
  { name: 'output_tokens', field: 'outputTokens', type: 'count', inLine: true },
  { name: 'reasoning_tokens', field: 'reasoningTokens', type: 'count', inLine: true },
  { name: 'seconds', field: 'seconds', type: 'amount' },
  { name: 'characters', field: 'characters', type: 'count' },
  { name: 'images', field: 'images', type: 'count' },
  { name: 'estimated', field: 'estimated', type: 'flag', inLine: true },
  // The cost is the full price; what is charged never exceeds the hold plus what is left of the balance.
  { name: 'cost_micros', field: 'costMicros', type: 'count' },
  { name: 'charged_micros', field: 'chargedMicros', type: 'charge' },
  { name: 'latency_ms', field: 'latencyMs', type: 'count' },
  { name: 'first_byte_ms', field: 'firstByteMs', type: 'count' },
  { name: 'attempts', field: 'attempts', type: 'count', inLine: true },
  // When the request came, in milliseconds since 1970.
  { name: 'time', field: 'at', type: 'count' },
  // Of how many requests a row is the sum, once they are rolled up: all amounts are sums then, the times too.
  { name: 'requests', field: 'requests', type: 'requests' },
  // The path is a template (`/api/orders/{id}`) and never holds what a client typed into the query.
  { name: 'method', field: 'method', type: 'text', ofServices: true },
  { name: 'path', field: 'path', type: 'text', ofServices: true },
  // Of bodies and WebSocket frames: from the client, and to it.
  { name: 'bytes_in', field: 'bytesIn', type: 'count', ofServices: true },
  { name: 'bytes_out', field: 'bytesOut', type: 'count', ofServices: true },
] as const satisfies readonly UsageColumn[]

type Described = (typeof USAGE_COLUMNS)[number]

/** A usage row as the tables have it. */
export type ChargedRow = { [C in Described as C['field']]: ReturnType<(typeof TYPES)[C['type']]['read']> }

type OfServices = Extract<Described, { ofServices: true }>['field']

/** What one request used and what it costs; the store says what was charged. */
export type UsageRow = Omit<ChargedRow, 'chargedMicros' | 'requests' | OfServices> &
  Partial<Pick<ChargedRow, OfServices>>

/** What a request of a service leaves, which nobody pays for: all else of its row is empty. */
export const SERVICE_FIELDS = [
  'requestId',
  'tokenId',
  'user',
  'provider',
  'endpoint',
  'status',
  'attempts',
  'at',
  'latencyMs',
  'firstByteMs',
  'method',
  'path',
  'bytesIn',
  'bytesOut',
] as const satisfies readonly Described['field'][]
export type ServiceRow = Pick<ChargedRow, (typeof SERVICE_FIELDS)[number]>

/** The fields of a log line that are the row's. */
export type LineUsage = Pick<UsageRow, Extract<Described, { inLine: true }>['field']>

export type UsageValue = string | number

/** Prepares what makes a row's values, in the order of the columns: each paid request's row passes here. */
export function prepareValues(columns: readonly UsageColumn[]) {
  const fields = columns.map(({ field }) => field)
  const writers = columns.map(({ type }) => TYPES[type].write)
  const charged = fields.indexOf('chargedMicros')
  return (row: Readonly<Record<string, unknown>>, chargedMicros: number): UsageValue[] => {
    const values = writers.map((write, index) => write(row[fields[index] ?? '']))
    if (charged !== -1) values[charged] = chargedMicros
    return values
  }
}

/** A stored record, by the names of its columns, as the row that it was. */
export function readUsage(columns: readonly UsageColumn[], stored: Readonly<Record<string, unknown>>) {
  const fields = columns.map(({ name, field, type }) => [field, TYPES[type].read(stored[name])])
  return Object.fromEntries(fields) as ChargedRow
}

/** A row of which nothing is known. */
export const NO_ROW: UsageRow = readUsage(
  USAGE_COLUMNS.filter(({ field }) => field !== 'chargedMicros' && field !== 'requests'),
  Object.fromEntries(USAGE_COLUMNS.map((column) => [column.name, emptyValue(column)])),
)

const IN_LINE = USAGE_COLUMNS.filter((column) => 'inLine' in column).map(
  ({ field }) => field,
) as readonly (keyof LineUsage)[]

/** A line's fields before anything is used: all at once, so that every line has the same shape for the engine. */
export const NO_LINE_USAGE = Object.fromEntries(IN_LINE.map((field) => [field, undefined])) as {
  [F in keyof LineUsage]: undefined
}

export function tellLine(line: { [F in keyof LineUsage]?: LineUsage[F] | undefined }, row: UsageRow): void {
  const target: Record<string, unknown> = line
  for (const field of IN_LINE) target[field] = row[field]
}

/** A column of the ledger's STRICT table. */
export function strictColumn({ name, type }: UsageColumn): string {
  return `${name} ${TYPES[type].strict} NOT NULL`
}

/** A column's type in the usage log, and what the rows of before it was there have in it. */
export function logType({ type }: UsageColumn) {
  return TYPES[type].log
}
export function emptyValue({ type }: UsageColumn): UsageValue {
  return TYPES[type].write(0)
}

/**
 * The columns of the first release's table. Those behind them are added to each table with a default, so that an older
 * gateway, which does not name them, can go on with it.
 */
export const FIRST_COLUMNS = 22

/** How rolled up rows have a column: they differ in it, or it is their sum. */
export function isSummed({ name, type }: UsageColumn): boolean {
  return name !== 'time' && !['text', 'code', 'flag'].includes(type)
}
