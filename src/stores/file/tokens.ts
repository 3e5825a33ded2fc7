import { join } from 'node:path'
import { Low } from 'lowdb'
import { errorText, nameTaken } from '../../errors.ts'
import { StoreError } from '../contracts/store-error.ts'
import { badFieldOf } from '../contracts/token-fields.ts'
import { durableFile } from '../durable-file.ts'
import { sweepTemporary } from '../folder.ts'
import { buildTokenIndex, type TokenIndex } from './token-index.ts'
import type { Operation, TokenRecord, TokensFile } from './token-record.ts'
import { readTokensFile } from './token-record.ts'
import type { Edit } from './token-writer.ts'
import { openTokenWriter } from './token-writer.ts'

export const TOKENS_FILE = 'tokens.json'

/** The tokens in memory, and the one way to change them: durably, or not at all. */
export interface TokenRegistry {
  storeId: string
  byHash(hash: string): TokenRecord | undefined
  byId(id: string): TokenRecord | undefined
  masterId(): string | undefined
  all(): readonly TokenRecord[]
  size(): number
  operation(id: string): Operation | undefined
  /** Adds the record, or puts it in the place of the one with its id. Throws `name_taken`. */
  put(record: TokenRecord, options?: { isMaster: boolean }): Promise<TokenRecord>
  /** Changes the record as all changes before leave it; the same record back: nothing to do. */
  change(id: string, edit: (record: TokenRecord) => TokenRecord): Promise<TokenRecord | undefined>
  /** Adds to what all of them were credited, in one step; whether they are all there. */
  credit(ids: readonly string[], operation: Operation): Promise<boolean>
  /** Resolves when the file holds what memory holds, after a write that failed halfway. */
  whole(): Promise<void>
  isWhole(): boolean
  /** Resolves after the last write. */
  close(): Promise<void>
}

/** Reads `tokens.json`; undefined when there is none. */
export async function readTokenRegistry(dbDir: string): Promise<TokenRegistry | undefined> {
  const path = join(dbDir, TOKENS_FILE)
  const low = new Low(durableFile<TokensFile>(path, readTokensFile), { version: 1, storeId: '', tokens: [] })
  try {
    await sweepTemporary(dbDir, TOKENS_FILE)
    await low.read()
  } catch (cause) {
    const reason = errorText(cause)
    const text = `"${path}" cannot be read (${reason}): restore it, together with usage.sqlite, from the latest backup`
    throw new StoreError('damaged', text, { cause })
  }
  return low.data.storeId === '' ? undefined : openRegistry(low)
}

/** Writes a first, empty `tokens.json`. */
export async function createTokenRegistry(dbDir: string, storeId: string): Promise<TokenRegistry> {
  const path = join(dbDir, TOKENS_FILE)
  const low = new Low<TokensFile>(durableFile(path, readTokensFile), { version: 1, storeId, tokens: [] })
  try {
    await low.write()
  } catch (cause) {
    const reason = errorText(cause)
    const text = `"${path}" cannot be written (${reason}): make it writable for this user, on a disk with free space`
    throw new StoreError('unusable', text, { cause })
  }
  return openRegistry(low)
}

function openRegistry(low: Low<TokensFile>): TokenRegistry {
  const index = buildTokenIndex(low.data.tokens)
  let masterId = low.data.master
  const writer = openTokenWriter(low, ({ records, isMaster }) => {
    for (const record of records) index.put(record)
    if (isMaster) masterId = records[0]?.id
  })
  return {
    storeId: low.data.storeId,
    byHash: index.byHash,
    byId: index.byId,
    masterId: () => masterId,
    all: index.all,
    size: index.size,
    operation: (id) => low.data.operations?.find((operation) => operation.id === id),
    put: async (record, { isMaster } = { isMaster: false }) => {
      await writer.write((tokens) => checked(tokens, { records: [record], isMaster }))
      return record
    },
    change: async (id, edit) => {
      const made = await writer.write((tokens) => {
        const before = tokens.byId(id)
        const record = before === undefined ? undefined : edit(before)
        return record === undefined || record === before ? undefined : checked(tokens, { records: [record] })
      })
      return made?.records[0] ?? index.byId(id)
    },
    credit: async (ids, operation) => {
      const made = await writer.write((tokens) => {
        const known = ids.flatMap((id) => tokens.byId(id) ?? [])
        const add = (record: TokenRecord) => ({
          ...record,
          creditedMicros: record.creditedMicros + operation.micros,
        })
        return known.length < ids.length ? undefined : checked(tokens, { records: known.map(add), operation })
      })
      return made !== undefined
    },
    whole: writer.whole,
    isWhole: writer.isWhole,
    close: writer.close,
  }
}

function checked(tokens: TokenIndex, edit: Edit): Edit {
  for (const record of edit.records) checkRecord(tokens, record)
  return edit
}

function checkRecord(tokens: TokenIndex, record: TokenRecord): void {
  const field = badFieldOf(record)
  // Such a record, written as it is, would keep the store from opening ever again.
  if (field !== undefined) throw new RangeError(`a token cannot have this ${field}`)
  const { id, hash, name, user } = record
  if ((tokens.byHash(hash)?.id ?? id) !== id) throw nameTaken('There is a token with this secret already')
  if (name !== '' && (tokens.ownerOf(user, name) ?? id) !== id)
    throw nameTaken(`"${user}" has a token named "${name}" already`)
}
