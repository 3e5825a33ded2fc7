import { isSummed, type UsageColumn } from '../contracts/usage-columns.ts'

/** Beyond it a number read back is not exact. */
const MOST = String(Number.MAX_SAFE_INTEGER)

/** How a database adds a column up: a charge exactly, what others reported at most as far as a number goes. */
type Sum = (name: string, type: UsageColumn['type']) => string

export const sqliteSum: Sum = (name, type) => {
  if (type === 'charge') return `sum(${name})`
  return type === 'amount' ? `total(${name})` : `CAST(min(total(${name}), ${MOST}) AS INTEGER)`
}

export const postgresSum: Sum = (name, type) => {
  if (type === 'charge') return `sum(${name})::bigint`
  return type === 'amount' ? `sum(${name})` : `least(sum(${name}), ${MOST})::bigint`
}

/** `user` is a word of PostgreSQL's own. */
function quote(name: string): string {
  return `"${name}"`
}

/** The parts of a statement that makes one row of many: they differ in the request's id and the time alone. */
export function sumStatement(columns: readonly UsageColumn[], sum: Sum) {
  const names = columns.map(({ name }) => quote(name))
  const groups = columns
    .filter((column) => !isSummed(column) && column.name !== 'request_id' && column.name !== 'time')
    .map(({ name }) => quote(name))
  return {
    names: names.join(', '),
    /** `id` and `start` stand for the period's parameters. */
    values: (id: string, start: string) => {
      const write = (column: UsageColumn): string => {
        if (column.name === 'request_id') return id
        if (column.name === 'time') return start
        return isSummed(column) ? sum(quote(column.name), column.type) : quote(column.name)
      }
      return columns.map(write).join(', ')
    },
    groups: groups.join(', '),
  }
}
