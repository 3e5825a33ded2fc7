import { readAccounts } from '../contracts/accounts.ts'
import type { UsageRow } from '../contracts/usage-columns.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { prepareTransaction } from '../sql/sqlite.ts'
import type { Writes } from './ledger-writes.ts'
import type { TokenRecord } from './token-record.ts'

/** What every token was charged so far, once the holds of a dead process are settled. */
export function readCharged(db: Sqlite, writes: Writes, tokens: readonly TokenRecord[]): Map<string, number> {
  const charged = new Map<string, number>()
  for (const row of db.prepare('SELECT token_id, charged_micros FROM accounts').all()) {
    charged.set(String(row.token_id), amount(row.charged_micros))
  }
  for (const { id, creditedMicros } of tokens) {
    if ((charged.get(id) ?? 0) > creditedMicros) throw new Error(`token "${id}" was charged more than it had`)
  }
  settleLeftHolds(db, writes, { charged, tokens })
  return charged
}

interface Charges {
  charged: Map<string, number>
  tokens: readonly TokenRecord[]
}

const IS_NO_GUESTS = 'id NOT IN (SELECT hold_id FROM guest_holds)'

/** Nobody is left to settle them: an answer that had begun costs its least, all others nothing. Guests live on. */
function settleLeftHolds(db: Sqlite, writes: Writes, { charged, tokens }: Charges): void {
  const holds = db
    .prepare(`SELECT token_id, least_micros, row FROM holds WHERE ${IS_NO_GUESTS} ORDER BY id`)
    .all()
  if (holds.length === 0) return
  const credited = new Map(tokens.map((token) => [token.id, token]))
  prepareTransaction(db)(() => {
    for (const hold of holds) {
      if (hold.row === null) continue
      const accounts = readAccounts(String(hold.token_id))
      const row: UsageRow = JSON.parse(String(hold.row))
      const left = accounts.map((id) => (credited.get(id)?.creditedMicros ?? 0) - (charged.get(id) ?? 0))
      const chargedMicros = Math.max(0, Math.min(amount(hold.least_micros), ...left))
      for (const id of accounts) {
        charged.set(id, (charged.get(id) ?? 0) + chargedMicros)
        if (chargedMicros > 0) writes.charge.run(id, chargedMicros)
      }
      writes.usage({ ...row, tokenId: accounts[0], estimated: true }, chargedMicros)
      writes.share(accounts, row.requestId, chargedMicros)
    }
    db.exec(`DELETE FROM holds WHERE ${IS_NO_GUESTS}`)
  })
}

function amount(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new Error(`it holds an impossible amount (${value})`)
}
