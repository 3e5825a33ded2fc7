import type { UsageColumn } from '../contracts/usage-columns.ts'
import type { Sqlite } from './sqlite.ts'

export const READABLE = 'usage_readable'

export type ViewWords = 'sqlite' | 'postgres'

/** How a database writes what people read: a time as ISO text in UTC, micro-credits as credits. */
interface Words {
  time(name: string): string
  credits(name: string): string
}

const SQLITE: Words = {
  time: (name) => `strftime('%Y-%m-%dT%H:%M:%fZ', ${name} / 1000.0, 'unixepoch')`,
  credits: (name) => `${name} / 1e6`,
}
const POSTGRES: Words = {
  time: (name) =>
    `to_char(to_timestamp(${name} / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`,
  credits: (name) => `(${name} / 1000000.0)::numeric(20, 6)`,
}

/** The names of the view's columns, the time first. */
export function readableNames(columns: readonly UsageColumn[]): string[] {
  return inOrder(columns).map(({ name }) => name.replace(/_micros$/, '_credits'))
}

function inOrder(columns: readonly UsageColumn[]): UsageColumn[] {
  const isTime = ({ name }: UsageColumn): boolean => name === 'time'
  return [...columns.filter(isTime), ...columns.filter((column) => !isTime(column))]
}

/** The statement that makes the usage rows readable: for people, nothing of ours reads the view. */
export function viewStatement(columns: readonly UsageColumn[], words: ViewWords): string {
  const { time, credits } = words === 'sqlite' ? SQLITE : POSTGRES
  const names = readableNames(columns)
  const values = inOrder(columns).map(({ name }, index) => {
    const isMicros = name.endsWith('_micros')
    const plain = isMicros ? credits(name) : `"${name}"`
    return `${name === 'time' ? time(name) : plain} AS "${names[index]}"`
  })
  return `CREATE VIEW ${READABLE} AS SELECT ${values.join(', ')} FROM usage`
}

/** Makes the view where it is missing, and anew where the columns have changed. */
export function putSqliteView(db: Sqlite, columns: readonly UsageColumn[]): void {
  const statement = viewStatement(columns, 'sqlite')
  const found = db.prepare('SELECT sql FROM sqlite_schema WHERE name = ?').get(READABLE)
  if (found?.sql === statement) return
  db.exec(`DROP VIEW IF EXISTS ${READABLE}; ${statement}`)
}
