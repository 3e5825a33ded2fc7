import { storeUnavailable } from '../../errors.ts'
import type { ServiceRow } from '../contracts/usage-columns.ts'
import type { Ledger } from './ledger.ts'
import type { LedgerFile } from './ledger-file.ts'
import { prepareUsage } from './ledger-writes.ts'

/** Rows of services: they go with the next charges, and resolve when they are on record. */
export interface ServiceRowWrites {
  write(rows: readonly ServiceRow[]): Promise<void>
  /** They may be on record already. */
  writeAgain(rows: readonly ServiceRow[]): Promise<void>
}

export function prepareServiceRows({ db, columns }: LedgerFile, ledger: Ledger): ServiceRowWrites {
  const insert = prepareUsage(db, columns)
  const find = db.prepare('SELECT 1 FROM usage WHERE token_id = ? AND time = ? AND request_id = ?')
  const insertAll = (rows: readonly ServiceRow[]): void => {
    for (const row of rows) insert(row, 0)
  }
  const written = (apply: () => void): Promise<void> =>
    new Promise((done, drop) => {
      // While the disk takes nothing the queue is for what is paid for.
      const isAdded = ledger.isReady() && ledger.add({ apply, done, drop })
      if (!isAdded) drop(storeUnavailable('Usage rows cannot be written just now'))
    })
  return {
    write: (rows) => written(() => insertAll(rows)),
    writeAgain: (rows) =>
      written(() => {
        // All of them went in one transaction.
        const [first] = rows
        if (first && find.get(first.tokenId, first.at, first.requestId) === undefined) insertAll(rows)
      }),
  }
}
