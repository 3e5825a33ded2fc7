import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { StoreError } from '../contracts/store-error.ts'
import { replaceFile } from '../durable-file.ts'
import { sweepTemporary } from '../folder.ts'
import { LEDGER_FILE } from './ledger-file.ts'
import { TOKENS_FILE } from './tokens.ts'

export const STORE_MARKER = 'store.json'

/** Throws a `StoreError` when a store was here and nothing of it is left: it must not look like a new folder. */
export function refuseVanished(dbDir: string): void {
  const isThere = (name: string): boolean => existsSync(join(dbDir, name))
  if (!isThere(STORE_MARKER) || isThere(TOKENS_FILE) || isThere(LEDGER_FILE)) return
  const text = `${TOKENS_FILE} and ${LEDGER_FILE} are gone from "${dbDir}", though "${STORE_MARKER}" says that they were there: restore both from the latest backup, or remove "${STORE_MARKER}" to begin anew`
  throw new StoreError('damaged', text)
}

/** A store that vanishes is found out from now on. Durable when it resolves. */
export async function markStore(dbDir: string, storeId: string): Promise<void> {
  const path = join(dbDir, STORE_MARKER)
  if (existsSync(path)) return
  await sweepTemporary(dbDir, STORE_MARKER)
  await replaceFile(path, JSON.stringify({ storeId }))
}
