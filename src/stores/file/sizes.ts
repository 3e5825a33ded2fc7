import type { StoreSizes } from '../contracts/sizes.ts'
import { sizeOfFiles } from '../folder.ts'
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
}

/** What the store's folder holds and what waits in the process. */
export function prepareSizes({ dbDir, db, ledger, tokens }: SizedStore): () => Promise<StoreSizes> {
  const answers = db.prepare(`SELECT bytes FROM claim_sums WHERE token_id = ''`)
  // The rows of requests have the ids from 1 on, in the order in which they came: some may be rolled up between them.
  const oldest = db.prepare('SELECT rowid, time FROM usage WHERE rowid > 0 ORDER BY rowid LIMIT 1')
  const latest = db.prepare('SELECT rowid FROM usage ORDER BY rowid DESC LIMIT 1')
  const ofLedger = (): Partial<StoreSizes> => {
    const first = oldest.get()
    return {
      answerBytes: Number(answers.get()?.bytes ?? 0),
      usageRows: first === undefined ? 0 : Number(latest.get()?.rowid) - Number(first.rowid) + 1,
      usageOldestMs: first === undefined ? 0 : Math.max(0, Date.now() - Number(first.time)),
    }
  }
  return async () => {
    const files = await sizeOfFiles(dbDir, nameOf)
    return { tokens: tokens(), files, ...ledger.waiting(), ...(ledger.isClosed ? undefined : ofLedger()) }
  }
}
