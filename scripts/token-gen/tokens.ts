import { setTimeout as wait } from 'node:timers/promises'
import { openTokenWork } from '../../src/admin/token-work.ts'
import { hasStore } from '../../src/stores/backup.ts'
import { openStores, StoreError, type Stores } from '../../src/stores/open.ts'
import { Failure } from '../command/failures.ts'
import type { StoreLocation } from '../command/location.ts'
import { NoServer, type Tokens, tokensOfServer } from './door.ts'

const START_MS = 5_000
const RETRY_MS = 100

/** Does `work` through the running server, else over the store itself; in Redis directly. */
export async function withTokens<T>(
  location: StoreLocation,
  work: (tokens: Tokens) => Promise<T>,
): Promise<T> {
  const { dbDir, redis } = location
  const giveUpAt = Date.now() + START_MS
  for (;;) {
    try {
      if (redis === undefined) return await work(tokensOfServer(dbDir))
    } catch (error) {
      if (!(error instanceof NoServer)) throw error
    }
    const tokens = await tokensOfStore(location)
    if (tokens !== undefined) return work(tokens).finally(() => tokens.close())
    if (Date.now() > giveUpAt)
      throw new Failure(`A process uses "${dbDir}" and does not answer on gateway.sock: try again or stop it`)
    // A server that has just started takes the store first and opens its door then.
    await wait(RETRY_MS)
  }
}

/** Undefined while another process has the store. */
async function tokensOfStore(location: StoreLocation): Promise<Tokens | undefined> {
  const isNew = location.redis === undefined && !hasStore(location.dbDir)
  let stores: Stores
  try {
    stores = await openStores({ ...location, role: 'command' })
  } catch (error) {
    if (error instanceof StoreError && error.reason === 'locked') return undefined
    throw error instanceof StoreError ? new Failure(error.message) : error
  }
  // A folder of another project has a .env as well: a server elsewhere would not know the token.
  if (isNew)
    process.stderr.write(
      `No store was in "${location.dbDir}", one is made: for a server that has another DB_DIR call this in its folder\n`,
    )
  return { ...openTokenWork(stores.tokens), close: () => stores.close() }
}
