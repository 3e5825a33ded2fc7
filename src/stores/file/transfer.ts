import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Dump, DumpedAccount } from '../contracts/books.ts'
import { NO_ROW, type UsageRow } from '../contracts/usage-columns.ts'
import { durableFile } from '../durable-file.ts'
import { openFolder, syncFolder } from '../folder.ts'
import { prepareTransaction } from '../sql/sqlite.ts'
import { ANSWERS_FOLDER } from './answer-files.ts'
import { LEDGER_FILE, openLedgerFile, STORE_MARKER } from './ledger-file.ts'
import { prepareWrites } from './ledger-writes.ts'
import { takeLock } from './lock.ts'
import { readTokensFile, type TokensFile } from './token-record.ts'
import { TOKENS_FILE } from './tokens.ts'

/** Writes the store into an empty folder beside the others; it counts for nothing until `putInPlace`. */
export async function writeFiles(folder: string, { masterId, accounts }: Dump): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { mode: 0o700 })
  const { db, storeId, columns } = openLedgerFile(folder, undefined)
  try {
    const writes = prepareWrites(db, columns)
    prepareTransaction(db)(() => {
      for (const { token, chargedMicros } of accounts) {
        if (chargedMicros === 0) continue
        writes.charge.run(token.id, chargedMicros)
        writes.usage(sumRow(token), chargedMicros)
      }
      writes.meta.run('initialised', '1')
    })
  } finally {
    db.close()
  }
  const tokens = accounts.map(({ token, creditedMicros }) => ({ ...token, creditedMicros }))
  const content: TokensFile = {
    version: 1,
    storeId,
    ...(masterId === undefined ? {} : { master: masterId }),
    tokens,
  }
  await durableFile(join(folder, TOKENS_FILE), readTokensFile).write(content)
}

/** One row for all that was charged before: its own rows stay where they are. */
function sumRow({ id, user }: DumpedAccount['token']): UsageRow {
  return {
    ...NO_ROW,
    requestId: `moved_${id}`,
    tokenId: id,
    user,
    endpoint: 'store-move',
    status: 200,
    at: Date.now(),
  }
}

const FILES = [
  ANSWERS_FOLDER,
  STORE_MARKER,
  LEDGER_FILE,
  `${LEDGER_FILE}-wal`,
  `${LEDGER_FILE}-shm`,
  TOKENS_FILE,
]

/** Makes what `writeFiles` has written the store of `dbDir`; `usage.sqlite` of the replicas keeps another name. */
export async function putInPlace(folder: string, dbDir: string, stamp: string): Promise<void> {
  const lock = takeLock(dbDir)
  try {
    await setAside(dbDir, `redis-${stamp}`)
    for (const name of FILES)
      if (existsSync(join(folder, name))) await rename(join(folder, name), join(dbDir, name))
    await syncFolder(dbDir)
    await rm(folder, { recursive: true })
  } finally {
    lock.release()
  }
}

/** What was moved away stays, under names that no server opens. */
export async function setAside(dbDir: string, mark: string): Promise<void> {
  await openFolder(dbDir)
  // The tokens first: without them the rest is not taken for a store.
  for (const name of FILES.toReversed())
    if (existsSync(join(dbDir, name))) await rename(join(dbDir, name), join(dbDir, `${name}.${mark}`))
  await syncFolder(dbDir)
}

export function hasFiles(dbDir: string): boolean {
  return existsSync(join(dbDir, TOKENS_FILE))
}
