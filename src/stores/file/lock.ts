import { join } from 'node:path'
import { errorText } from '../../errors.ts'
import { StoreError } from '../contracts/store-error.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { isBusy, openSqlite } from '../sql/sqlite.ts'

/** The right to be the only one in a folder. */
export interface Lock {
  release(): void
}

/**
 * Takes the folder for this process, at once or not at all. The kernel frees it when the process dies, however it
 * dies, and it holds across containers that share the volume.
 */
export function takeLock(dbDir: string): Lock {
  const path = join(dbDir, 'lock.sqlite')
  let db: Sqlite | undefined
  try {
    db = openSqlite(path)
    db.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    if (db?.isOpen) db.close()
    throw refusal(dbDir, path, cause)
  }
  const held = db
  return {
    release: () => {
      if (held.isOpen) held.close()
    },
  }
}

function refusal(dbDir: string, path: string, cause: unknown): StoreError {
  if (isBusy(cause)) {
    const text = `Another server uses DB_DIR "${dbDir}": stop it first, or give this one a folder of its own`
    return new StoreError('locked', text, { cause })
  }
  const reason = errorText(cause)
  const text = `Cannot lock "${path}" (${reason}): make DB_DIR writable; the file itself holds nothing and may be deleted while no server runs`
  return new StoreError('unusable', text, { cause })
}
