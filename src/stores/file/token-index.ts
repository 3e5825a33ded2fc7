import { nameKeyOf } from '../contracts/names.ts'
import type { TokenRecord } from './token-record.ts'

/** Token records by what they are looked up by. */
export interface TokenIndex {
  byId(id: string): TokenRecord | undefined
  /** Finds a token by the hash of its secret of now, or of one before. */
  byHash(hash: string): TokenRecord | undefined
  /** The id of the user's token of that name. */
  ownerOf(user: string, name: string): string | undefined
  all(): readonly TokenRecord[]
  size(): number
  /** Adds the record, or puts it in the place of the one with its id. */
  put(record: TokenRecord): void
}

export function buildTokenIndex(records: readonly TokenRecord[]): TokenIndex {
  const ids = new Map<string, TokenRecord>()
  const hashes = new Map<string, string>()
  const names = new Map<string, string>()
  const put = (record: TokenRecord) => {
    const before = ids.get(record.id)
    if (before !== undefined) {
      hashes.delete(before.hash)
      for (const { hash } of before.previous ?? []) hashes.delete(hash)
    }
    ids.set(record.id, record)
    hashes.set(record.hash, record.id)
    for (const { hash } of record.previous ?? []) hashes.set(hash, record.id)
    if (record.name !== '') names.set(nameKeyOf(record), record.id)
  }
  for (const record of records) put(record)
  return {
    byId: (id) => ids.get(id),
    byHash: (hash) => ids.get(hashes.get(hash) ?? ''),
    ownerOf: (user, name) => names.get(nameKeyOf({ user, name })),
    all: () => [...ids.values()],
    size: () => ids.size,
    put,
  }
}
