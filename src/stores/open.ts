import type { Books } from './books.ts'
import { readFileBooks } from './file/books.ts'
import { openFileStore } from './file/store.ts'
import type { IdempotencyStore } from './idempotency.ts'
import type { TokenStore } from './token-store.ts'

// biome-ignore lint/performance/noBarrelFile: callers know one door; its own file keeps the drivers from a circle.
export { StoreError } from './store-error.ts'

/** Everything that outlives a request. */
export interface Stores {
  tokens: TokenStore
  keys: IdempotencyStore
  close(): Promise<void>
}

export interface StoreSettings {
  /** The folder of the file store; made when missing. */
  dbDir: string
}

/** Opens the stores, or throws a `StoreError` that names the file and the way out. */
export async function openStores({ dbDir }: StoreSettings): Promise<Stores> {
  const { tokens, keys } = await openFileStore(dbDir)
  return { tokens, keys, close: () => tokens.close() }
}

/** The sums of the stores, without opening them: beside a running server or without one. Throws a `StoreError`. */
export const readBooks = ({ dbDir }: StoreSettings): Promise<Books> => readFileBooks(dbDir)
