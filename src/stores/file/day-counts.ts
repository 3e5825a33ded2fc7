import type { DayCounts } from '../contracts/places.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import type { Ledger } from './ledger.ts'

const nothing = (): void => undefined

/**
 * Requests of a day by token, beside the balances: a row for each token that has a limit by day and was used. They are
 * written with the next charges, so that no request waits for it.
 */
export function openDayCounts(db: Sqlite, ledger: Pick<Ledger, 'add'>): DayCounts {
  db.exec(`CREATE TABLE IF NOT EXISTS days (
    token_id TEXT PRIMARY KEY, day INTEGER NOT NULL, count INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`)
  const select = db.prepare('SELECT token_id, count FROM days WHERE day = ?')
  const insert = db.prepare('INSERT OR REPLACE INTO days VALUES (?, ?, ?)')
  const sweep = db.prepare('DELETE FROM days WHERE day <> ?')
  // The day whose rows alone are left.
  let sweptFor = Number.NaN
  return {
    read: (day) => new Map(select.all(day).map(({ token_id, count }) => [String(token_id), Number(count)])),
    write: (day, counts) =>
      ledger.add({
        apply: () => {
          if (day !== sweptFor) sweep.run(day)
          sweptFor = day
          for (const [tokenId, count] of counts) insert.run(tokenId, day, count)
        },
        done: nothing,
        drop: nothing,
      }),
  }
}
