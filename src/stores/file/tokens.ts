import { join } from 'node:path'
import { Low } from 'lowdb'
import { nameTaken, storeUnavailable } from '../../errors.ts'
import { StoreError } from '../store-error.ts'
import { durableFile } from './durable-file.ts'
import { sweepTemporary } from './folder.ts'
import type { TokenRecord, TokensFile } from './token-record.ts'
import { badFieldOf, readTokensFile } from './token-record.ts'

export const TOKENS_FILE = 'tokens.json'

/** The tokens in memory, and the one way to change them: durably, or not at all. */
export interface TokenBook {
  storeId: string
  byHash(hash: string): TokenRecord | undefined
  byId(id: string): TokenRecord | undefined
  masterId(): string | undefined
  all(): readonly TokenRecord[]
  /** Adds the record, or puts it in the place of the one with its id. Throws `name_taken`. */
  put(record: TokenRecord, options?: { isMaster: boolean }): Promise<TokenRecord>
  /** After the last write. */
  close(): Promise<void>
}

interface Change {
  record: TokenRecord
  isMaster: boolean
  resolve(record: TokenRecord): void
  reject(cause: unknown): void
}

/** Reads `tokens.json`; undefined when there is none. */
export async function readTokenBook(dbDir: string): Promise<TokenBook | undefined> {
  const path = join(dbDir, TOKENS_FILE)
  const low = new Low(durableFile<TokensFile>(path, readTokensFile), { version: 1, storeId: '', tokens: [] })
  try {
    await sweepTemporary(dbDir, TOKENS_FILE)
    await low.read()
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const text = `"${path}" cannot be read (${reason}): restore it, together with usage.sqlite, from the latest backup`
    throw new StoreError('damaged', text, { cause })
  }
  return low.data.storeId === '' ? undefined : openBook(low)
}

/** Writes a first, empty `tokens.json`. */
export async function createTokenBook(dbDir: string, storeId: string): Promise<TokenBook> {
  const path = join(dbDir, TOKENS_FILE)
  const low = new Low<TokensFile>(durableFile(path, readTokensFile), { version: 1, storeId, tokens: [] })
  await low.write()
  return openBook(low)
}

function openBook(low: Low<TokensFile>): TokenBook {
  const ids = new Map(low.data.tokens.map((record) => [record.id, record]))
  const hashes = new Map(low.data.tokens.map((record) => [record.hash, record]))
  let masterId = low.data.master
  const writer = openWriter(low, ({ record, isMaster }) => {
    const before = ids.get(record.id)
    if (before !== undefined) hashes.delete(before.hash)
    ids.set(record.id, record)
    hashes.set(record.hash, record)
    if (isMaster) masterId = record.id
  })
  const refuseTwin = (record: TokenRecord) => {
    for (const other of [...ids.values(), ...writer.pending()]) {
      if (other.id === record.id) continue
      if (other.hash === record.hash) throw nameTaken('There is a token with this secret already')
      if (record.name === '' || other.name !== record.name || other.user !== record.user) continue
      throw nameTaken(`"${record.user}" has a token named "${record.name}" already`)
    }
  }
  return {
    storeId: low.data.storeId,
    byHash: (hash) => hashes.get(hash),
    byId: (id) => ids.get(id),
    masterId: () => masterId,
    all: () => [...ids.values()],
    put: async (record, { isMaster } = { isMaster: false }) => {
      const field = badFieldOf(record)
      // Written as it is, such a record would keep the store from opening ever again.
      if (field !== undefined) throw new RangeError(`a token cannot have this ${field}`)
      refuseTwin(record)
      return writer.write(record, isMaster)
    },
    close: writer.close,
  }
}

/** One write at a time; what is asked for meanwhile goes into the next one, all together. */
function openWriter(low: Low<TokensFile>, onWritten: (change: Change) => void) {
  let [waiting, inFlight]: [Change[], Change[]] = [[], []]
  let running: Promise<void> | undefined
  let isClosed = false

  const writeBatch = async (): Promise<void> => {
    ;[inFlight, waiting] = [waiting, []]
    const before = low.data
    low.data = changed(before, inFlight)
    try {
      await low.write()
      for (const change of inFlight) {
        onWritten(change)
        change.resolve(change.record)
      }
    } catch (cause) {
      low.data = before
      for (const { reject } of inFlight) reject(storeUnavailable('The token could not be saved', { cause }))
    }
    inFlight = []
  }
  const run = async (): Promise<void> => {
    while (waiting.length > 0) await writeBatch()
    running = undefined
  }
  return {
    pending: () => [...inFlight, ...waiting].map(({ record }) => record),
    write: (record: TokenRecord, isMaster: boolean) => {
      if (isClosed) throw storeUnavailable('The store is closed')
      return new Promise<TokenRecord>((resolve, reject) => {
        waiting.push({ record, isMaster, resolve, reject })
        running ??= run()
      })
    },
    close: async () => {
      isClosed = true
      await running
    },
  }
}

/** `low.data` is replaced, never changed in place, so that a failed write leaves it as it was. */
function changed(before: TokensFile, changes: readonly Change[]): TokensFile {
  const records = new Map(before.tokens.map((record) => [record.id, record]))
  for (const { record } of changes) records.set(record.id, record)
  const master = changes.findLast(({ isMaster }) => isMaster)?.record.id ?? before.master
  return { ...before, ...(master === undefined ? {} : { master }), tokens: [...records.values()] }
}
