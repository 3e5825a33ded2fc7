import { randomUUID } from 'node:crypto'
import { cpSync, existsSync, mkdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { HoldRequest } from '../../src/stores/contracts/accounts.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import { openStores } from '../../src/stores/open.ts'

export interface Owner {
  teardown(close: () => unknown): unknown
}

/** A folder that is gone after the test. */
export async function folder(test: Owner): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gateway-stores-'))
  test.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Its store, closed after the test. */
export async function openIn(test: Owner, dbDir: string): Promise<TokenStore> {
  const { tokens } = await openStores({ dbDir })
  test.teardown(() => tokens.close())
  return tokens
}

/** The usage rows of a folder, by the names of their columns; none while there is no table. */
export function usageRowsIn(dbDir: string): Record<string, unknown>[] {
  const path = join(dbDir, 'usage.sqlite')
  if (!existsSync(path)) return []
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
  try {
    const isThere = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'usage'").get() !== undefined
    return isThere ? db.prepare('SELECT * FROM usage').all() : []
  } finally {
    db.close()
  }
}

/** A request that needs all of `micros`. */
export const askOf = (tokenId: string, micros: number): HoldRequest => ({
  accounts: [tokenId],
  requestId: randomUUID(),
  micros,
  leastMicros: micros,
})

/** What a machine that dies right now leaves on its disk: the files as they are, without a goodbye. */
export function crashedCopy(dbDir: string, to: string): string {
  mkdirSync(to, { recursive: true })
  for (const name of ['tokens.json', 'usage.sqlite', 'usage.sqlite-wal'])
    cpSync(join(dbDir, name), join(to, name))
  const answers = join(dbDir, 'answers')
  if (existsSync(answers)) cpSync(answers, join(to, 'answers'), { recursive: true })
  return to
}
