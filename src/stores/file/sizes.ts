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
  return async () => {
    const files = await sizeOfFiles(dbDir, nameOf)
    const answerBytes = ledger.isClosed ? undefined : Number(answers.get()?.bytes ?? 0)
    return { tokens: tokens(), files, answerBytes, ...ledger.waiting() }
  }
}
