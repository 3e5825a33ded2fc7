import { storeUnavailable } from '../../errors.ts'
import {
  emptyValue,
  prepareValues,
  SERVICE_FIELDS,
  type ServiceRow,
  type UsageColumn,
} from '../contracts/usage-columns.ts'
import { prepareTransaction, type Sqlite } from '../sql/sqlite.ts'
import type { Ledger } from './ledger.ts'
import type { LedgerFile } from './ledger-file.ts'

/** Rows of services: on record when it resolves, all of them or none. */
export interface ServiceRowWrites {
  write(rows: readonly ServiceRow[]): Promise<void>
  /** They may be on record already. */
  writeAgain(rows: readonly ServiceRow[]): Promise<void>
}

/** In transactions of their own: where they find no room what is paid for may find some. */
export function prepareServiceRows({ db, columns }: LedgerFile, ledger: Ledger): ServiceRowWrites {
  const insert = prepareInsert(db, columns)
  const find = db.prepare('SELECT 1 FROM usage WHERE token_id = ? AND time = ? AND request_id = ?')
  const transact = prepareTransaction(db)
  const write = async (rows: readonly ServiceRow[]): Promise<void> => {
    if (!ledger.isReady()) throw storeUnavailable('Usage rows cannot be written just now')
    transact(() => {
      for (const row of rows) insert(row)
    })
    ledger.sync()
  }
  return {
    write,
    writeAgain: async (rows) => {
      const [first] = rows
      // One transaction had all of them.
      const isWritten = first && find.get(first.tokenId, first.at, first.requestId) !== undefined
      if (!isWritten) await write(rows)
    },
  }
}

/** Half of the columns are the same in each of them, and stand in the statement. */
function prepareInsert(db: Sqlite, columns: readonly UsageColumn[]) {
  const fields: ReadonlySet<string> = new Set(SERVICE_FIELDS)
  const names = columns.map(({ name }) => name)
  const values = columns.map((column) => (fields.has(column.field) ? '?' : writeEmpty(column)))
  const insert = db.prepare(`INSERT INTO usage (${names.join(', ')}) VALUES (${values.join(', ')})`)
  const valuesOf = prepareValues(columns.filter(({ field }) => fields.has(field)))
  return (row: ServiceRow): void => {
    insert.run(...valuesOf(row, 0))
  }
}

function writeEmpty(column: UsageColumn): string {
  const value = emptyValue(column)
  return typeof value === 'number' ? String(value) : `'${value}'`
}
