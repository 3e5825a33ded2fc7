import { type ClockNotes, keptBy, type RollUpTable, type Span } from '../contracts/roll-up.ts'
import type { UsageColumn } from '../contracts/usage-columns.ts'
import { sqliteSum, sumStatement } from './roll-up-sql.ts'
import { prepareTransaction, type Sqlite } from './sqlite.ts'

/** What else knows of the rows that are about to be rolled up; runs in their transaction. */
export type AlsoRolledUp = (requestIds: readonly string[]) => void

export interface SqliteRollUp extends ClockNotes {
  db: Sqlite
  columns: readonly UsageColumn[]
  also?: AlsoRolledUp
}

const BY_IDS = 'rowid IN (SELECT value FROM json_each(?))'

/** All in statements of a millisecond or so, each found by the index of tokens. */
export function openSqliteRollUp({ db, columns, also, ...clock }: SqliteRollUp): RollUpTable {
  const { names, values, groups } = sumStatement(columns, sqliteSum)
  const next = db.prepare('SELECT token_id FROM usage WHERE token_id > ? ORDER BY token_id LIMIT 1')
  const first = db.prepare(`SELECT time FROM usage WHERE token_id = ? AND time >= ? AND time < ?
    AND request_id NOT LIKE ? AND request_id NOT LIKE ? ORDER BY time LIMIT 1`)
  const pick = db.prepare(`SELECT rowid, request_id FROM usage WHERE token_id = ? AND time >= ? AND time < ?
    AND request_id NOT LIKE ? AND request_id NOT LIKE ? ORDER BY time LIMIT ?`)
  const own = db.prepare('SELECT rowid FROM usage WHERE token_id = ? AND time = ? AND request_id = ?')
  // The rows of periods count down from zero, so that those of requests are told by their ids and stay in order.
  const put = db.prepare(`INSERT INTO usage (rowid, ${names})
    SELECT (SELECT min(0, rowid) FROM usage ORDER BY rowid LIMIT 1) - row_number() OVER (), * FROM
      (SELECT ${values('?', '?')} FROM usage WHERE ${BY_IDS} GROUP BY ${groups})`)
  const drop = db.prepare(`DELETE FROM usage WHERE ${BY_IDS}`)
  const transact = prepareTransaction(db)
  return {
    ...clock,
    nextToken: async (after) => {
      const found = next.get(after)
      return found && String(found.token_id)
    },
    oldest: async (tokenId, span) => {
      const found = first.get(tokenId, span.fromMs, span.untilMs, ...patternsOf(span))
      return found && Number(found.time)
    },
    rollUp: async ({ tokenId, span, period, most }) => {
      const { fromMs, untilMs, requestId } = period
      let count = 0
      transact(() => {
        const rows = pick.all(tokenId, fromMs, untilMs, ...patternsOf(span), most)
        count = rows.length
        if (count === 0) return
        const all = [...rows, ...own.all(tokenId, fromMs, requestId)]
        const ids = JSON.stringify(all.map(({ rowid }) => rowid))
        put.run(requestId, fromMs, ids)
        drop.run(ids)
        also?.(rows.map((row) => String(row.request_id)))
      })
      return count
    },
  }
}

function patternsOf(span: Span): [string, string] {
  const [one = '', other = one] = keptBy(span)
  return [one, other]
}
