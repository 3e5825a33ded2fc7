import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errorText } from '../../errors.ts'
import { readAccounts } from '../contracts/accounts.ts'
import type { Book, Books } from '../contracts/books.ts'
import { StoreError } from '../contracts/store-error.ts'
import { hasTable, openSqliteToRead, type Sqlite } from '../sql/sqlite.ts'
import { LEDGER_FILE, ledgerError } from './ledger-file.ts'
import { readTokensFile, type TokensFile } from './token-record.ts'
import { TOKENS_FILE } from './tokens.ts'

/** Sums by token id, in micro-credits. */
interface Sums {
  charged: Map<string, number>
  rows: Map<string, number>
  held: Map<string, number>
}

/** The sums of the files in one snapshot, beside a running server or without one. Throws a `StoreError`. */
export async function readFileBooks(dbDir: string): Promise<Books> {
  // The ledger first: what it charges was credited before.
  const sums = readSums(join(dbDir, LEDGER_FILE))
  const { tokens } = await readTokens(join(dbDir, TOKENS_FILE))
  const books = tokens.map(({ id, user, name, creditedMicros }): Book => {
    const [chargedMicros, heldMicros] = [sums.charged.get(id) ?? 0, sums.held.get(id) ?? 0]
    const balanceMicros = creditedMicros - chargedMicros - heldMicros
    const rowsMicros = sums.rows.get(id) ?? 0
    return { tokenId: id, user, name, creditedMicros, balanceMicros, heldMicros, chargedMicros, rowsMicros }
  })
  const known = new Set(tokens.map(({ id }) => id))
  // Requests of services come without a token, too, and cost nothing.
  if (sums.rows.get('') === 0) known.add('')
  const strangers = [...new Set([...sums.charged.keys(), ...sums.rows.keys()])].filter((id) => !known.has(id))
  return {
    books,
    faults: strangers.map((id) => `${LEDGER_FILE} charges "${id}", which ${TOKENS_FILE} does not know`),
  }
}

function readSums(path: string): Sums {
  if (!existsSync(path))
    throw new StoreError('damaged', `"${path}" is not there: is DB_DIR the right folder?`)
  let db: Sqlite | undefined
  try {
    db = openSqliteToRead(path)
    db.exec('BEGIN')
    return {
      charged: sumsOf(db, 'SELECT token_id, charged_micros AS micros FROM accounts'),
      rows: sumsOf(db, hasTable(db, 'shared_charges') ? `${ROWS} UNION ALL ${SHARED}` : ROWS),
      held: sumsOf(db, 'SELECT token_id, sum(micros) AS micros FROM holds GROUP BY token_id'),
    }
  } catch (cause) {
    throw ledgerError(path, cause)
  } finally {
    db?.close()
  }
}

const ROWS = 'SELECT token_id, sum(charged_micros) AS micros FROM usage GROUP BY token_id'
/** Ledgers that no gateway of now has opened yet are without this table. */
const SHARED = 'SELECT account_id, sum(micros) FROM shared_charges GROUP BY account_id'

/** What is said of a list of accounts counts for each of them. */
function sumsOf(db: Sqlite, sql: string): Map<string, number> {
  const sums = new Map<string, number>()
  for (const { token_id, micros } of db.prepare(sql).all())
    for (const id of readAccounts(String(token_id))) sums.set(id, (sums.get(id) ?? 0) + Number(micros))
  return sums
}

async function readTokens(path: string): Promise<TokensFile> {
  try {
    return readTokensFile(await readFile(path, 'utf8'))
  } catch (cause) {
    const reason = errorText(cause)
    throw new StoreError('damaged', `"${path}" cannot be read (${reason})`, { cause })
  }
}
