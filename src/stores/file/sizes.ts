import { ROLLED_UP } from '../contracts/roll-up.ts'
import type { StoreSizes } from '../contracts/sizes.ts'
import { sizeOfFiles } from '../folder.ts'
import type { NotedRows } from '../noted-rows.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import type { Ledger } from './ledger.ts'
import { LEDGER_FILE } from './ledger-file.ts'
import { TOKENS_FILE } from './tokens.ts'

const OWN_FILES: readonly string[] = [TOKENS_FILE, LEDGER_FILE, `${LEDGER_FILE}-wal`, `${LEDGER_FILE}-shm`]

/** A file of the store has its own name: what else lies there (a copy, say) counts together. */
function nameOf(file: string): string | undefined {
  return OWN_FILES.includes(file) ? file : undefined
}

export interface SizedStore {
  dbDir: string
  db: Sqlite
  ledger: Ledger
  tokens(): number
  rows: NotedRows
}

/** What the store's folder holds and what waits in the process. */
export function prepareSizes({ dbDir, db, ledger, tokens, rows }: SizedStore): () => Promise<StoreSizes> {
  const answers = db.prepare(`SELECT bytes FROM claim_sums WHERE token_id = ''`)
  const latest = db.prepare('SELECT rowid FROM usage ORDER BY rowid DESC LIMIT 1')
  const findFirst = prepareFirst(db)
  const ofLedger = (): Partial<StoreSizes> => {
    const last = Number(latest.get()?.rowid ?? 0)
    const first = findFirst(last)
    return {
      answerBytes: Number(answers.get()?.bytes ?? 0),
      // Some may be rolled up between them.
      usageRows: first === undefined ? 0 : last - first.id + 1,
      usageOldestMs: first === undefined ? 0 : Math.max(0, Date.now() - first.time),
    }
  }
  return async () => {
    const files = await sizeOfFiles(dbDir, nameOf)
    const own = { tokens: tokens(), files, serviceRows: rows.counts(), ...ledger.waiting() }
    return ledger.isClosed ? own : { ...own, ...ofLedger() }
  }
}

/**
 * Finds the first row of a request. Sums of periods have the lowest ids of all, requests come behind the highest: which
 * numbers these are depends on what was rolled up before, and on a `vacuum` by hand, so the border is looked for by halves.
 */
function prepareFirst(db: Sqlite): (last: number) => { id: number; time: number } | undefined {
  const lowest = db.prepare('SELECT rowid FROM usage ORDER BY rowid LIMIT 1')
  const isSum = ROLLED_UP.map(() => 'request_id LIKE ?').join(' OR ')
  const next = db.prepare(
    `SELECT rowid, time, (${isSum}) AS is_sum FROM usage WHERE rowid >= ? ORDER BY rowid LIMIT 1`,
  )
  return (last) => {
    let low = Number(lowest.get()?.rowid ?? last + 1)
    let high = last
    let first: { id: number; time: number } | undefined
    while (low <= high) {
      const middle = low + Math.floor((high - low) / 2)
      const row = next.get(...ROLLED_UP, middle)
      if (row === undefined) break
      if (row.is_sum === 1) low = Number(row.rowid) + 1
      else {
        first = { id: Number(row.rowid), time: Number(row.time) }
        high = middle - 1
      }
    }
    return first
  }
}
