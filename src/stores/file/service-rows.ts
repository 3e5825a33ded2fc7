import { storeUnavailable } from '../../errors.ts'
import type { ServiceRow } from '../contracts/usage-columns.ts'
import { prepareTransaction } from '../sql/sqlite.ts'
import type { Ledger } from './ledger.ts'
import type { LedgerFile } from './ledger-file.ts'
import { prepareUsage } from './ledger-writes.ts'

/** Rows of services: on record when it resolves, all of them or none. */
export interface ServiceRowWrites {
  write(rows: readonly ServiceRow[]): Promise<void>
  /** They may be on record already. */
  writeAgain(rows: readonly ServiceRow[]): Promise<void>
}

/** In transactions of their own: where they find no room what is paid for may find some. */
export function prepareServiceRows({ db, columns }: LedgerFile, ledger: Ledger): ServiceRowWrites {
  const insert = prepareUsage(db, columns)
  const find = db.prepare('SELECT 1 FROM usage WHERE token_id = ? AND time = ? AND request_id = ?')
  const transact = prepareTransaction(db)
  const write = async (rows: readonly ServiceRow[]): Promise<void> => {
    if (!ledger.isReady()) throw storeUnavailable('Usage rows cannot be written just now')
    transact(() => {
      for (const row of rows) insert(row, 0)
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
