import { openRollUp, type RollUp, type RollUpOptions } from '../roll-up.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { type AlsoRolledUp, openSqliteRollUp } from '../sql/sqlite-roll-up.ts'
import type { Ledger } from './ledger.ts'
import type { LedgerFile } from './ledger-file.ts'

/** What becomes of old usage rows; undefined: they stay. */
export type KeepRows = Pick<RollUpOptions, 'keptDays' | 'tell' | 'warn'> | undefined

const CLOCK = 'clockAt'
const DOUBTED = 'clockDoubtedAt'
/** The request id of what further accounts have paid of requests that are rolled up. */
const ROLLED_UP_ID = 'rolled up'

/** Rolls up the rows of the ledger: what is summed of them for the books stays the same at every moment. */
export function openLedgerRollUp({ db, columns }: LedgerFile, ledger: Ledger, keep: KeepRows): RollUp {
  if (keep === undefined) return { close: async () => undefined }
  const read = db.prepare('SELECT value FROM meta WHERE key = ?')
  const latest = db.prepare('SELECT time FROM usage ORDER BY rowid DESC LIMIT 1')
  const write = db.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
  const drop = db.prepare('DELETE FROM meta WHERE key = ?')
  const numberOf = (found: unknown): number | undefined => (found === undefined ? undefined : Number(found))
  const table = openSqliteRollUp({
    db,
    columns,
    also: prepareShared(db),
    lastTime: async () => numberOf(read.get(CLOCK)?.value ?? latest.get()?.time),
    doubted: async () => numberOf(read.get(DOUBTED)?.value),
    trust: async (time) => {
      write.run(CLOCK, String(time))
      drop.run(DOUBTED)
    },
    doubt: async (time) => {
      write.run(DOUBTED, String(time))
    },
  })
  return openRollUp({ ...keep, table, mayGoOn: () => ledger.isReady() })
}

/** What further accounts have paid of these requests becomes one row for each account. */
function prepareShared(db: Sqlite): AlsoRolledUp {
  const any = db.prepare('SELECT 1 FROM shared_charges LIMIT 1')
  const ofRequests = 'request_id IN (SELECT value FROM json_each(?1))'
  const pick = db.prepare(`SELECT rowid FROM shared_charges WHERE ${ofRequests} UNION
    SELECT rowid FROM shared_charges WHERE request_id = ?2
      AND account_id IN (SELECT account_id FROM shared_charges WHERE ${ofRequests})`)
  const byIds = 'rowid IN (SELECT value FROM json_each(?1))'
  const put = db.prepare(`INSERT INTO shared_charges
    SELECT account_id, ?2, sum(micros) FROM shared_charges WHERE ${byIds} GROUP BY account_id`)
  const drop = db.prepare(`DELETE FROM shared_charges WHERE ${byIds}`)
  return (requestIds) => {
    if (any.get() === undefined) return
    const ids = JSON.stringify(pick.all(JSON.stringify(requestIds), ROLLED_UP_ID).map(({ rowid }) => rowid))
    put.run(ids, ROLLED_UP_ID)
    drop.run(ids)
  }
}
