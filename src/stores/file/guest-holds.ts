import { type AccountList, type HoldRequest, readAccounts, writeAccounts } from '../contracts/accounts.ts'
import type { Mark } from '../contracts/guests.ts'
import type { UsageRow } from '../contracts/usage-columns.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { type Ended, MOST_REMEMBERED } from './balances.ts'

/**
 * Whose hold it is, where it is a guest's, and how guests' holds ended: the server that has the folder after this one
 * knows both. Tables of their own, so that a release of before finds in `holds` what it expects.
 */
export const GUEST_TABLES = `
CREATE TABLE IF NOT EXISTS guest_holds (hold_id INTEGER PRIMARY KEY, guest TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS guest_ends (
  hold_id INTEGER PRIMARY KEY, accounts TEXT NOT NULL, charged_micros INTEGER NOT NULL
) STRICT;
`

/** After so many ends the oldest are forgotten. */
const PRUNED_AFTER = 1_000

export interface GuestHold {
  id: number
  guest: string
  accounts: AccountList
  micros: number
  mark: Mark | undefined
}

/** The statements for guests' holds, to be run in a transaction with the others. */
export function prepareGuestHolds(db: Sqlite) {
  const put = db.prepare('INSERT OR REPLACE INTO guest_holds VALUES (?, ?)')
  const hold = db.prepare('INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, 0, NULL, ?)')
  const remove = db.prepare('DELETE FROM guest_holds WHERE hold_id = ?')
  const end = db.prepare('INSERT OR REPLACE INTO guest_ends VALUES (?, ?, ?)')
  const prune = db.prepare('DELETE FROM guest_ends WHERE hold_id <= ?')
  let ends = 0
  return {
    put: (
      id: number,
      guest: string,
      { accounts, requestId, micros }: Omit<HoldRequest, 'leastMicros'>,
    ): void => {
      hold.run(id, writeAccounts(accounts), requestId, micros, Date.now())
      put.run(id, guest)
    },
    /** It is no guest's any more. */
    remove: (id: number): void => {
      remove.run(id)
    },
    end: (id: number, accounts: AccountList, chargedMicros: number): void => {
      remove.run(id)
      end.run(id, writeAccounts(accounts), chargedMicros)
      if (++ends % PRUNED_AFTER === 0) prune.run(id - MOST_REMEMBERED)
    },
  }
}

/** What guests had with a server that has ended: holds that stand on, and how others ended. */
export function readGuestHolds(db: Sqlite): { holds: GuestHold[]; ended: Ended[]; lastId: number } {
  db.exec('DELETE FROM guest_holds WHERE hold_id NOT IN (SELECT id FROM holds)')
  const held = db.prepare('SELECT * FROM holds JOIN guest_holds ON hold_id = id ORDER BY id').all()
  const ends = db.prepare('SELECT * FROM guest_ends ORDER BY hold_id').all()
  const holds = held.map((row): GuestHold => {
    const { id, guest, token_id: accounts, micros, row: marked, least_micros: leastMicros } = row
    const usage: UsageRow | undefined = marked === null ? undefined : JSON.parse(String(marked))
    return {
      id: Number(id),
      guest: String(guest),
      accounts: readAccounts(String(accounts)),
      micros: Number(micros),
      mark: usage && { leastMicros: Number(leastMicros), row: usage },
    }
  })
  const ended = ends.map((row) => ({
    holdId: Number(row.hold_id),
    accounts: readAccounts(String(row.accounts)),
    chargedMicros: Number(row.charged_micros),
  }))
  return { holds, ended, lastId: Math.max(0, holds.at(-1)?.id ?? 0, ended.at(-1)?.holdId ?? 0) }
}
