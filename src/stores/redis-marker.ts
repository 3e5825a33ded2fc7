import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { errorText } from '../errors.ts'
import { StoreError } from './contracts/store-error.ts'
import { replaceFile } from './durable-file.ts'
import { sweepTemporary } from './folder.ts'

const MARKER = 'redis-store.json'

export function markerPath(dbDir: string): string {
  return join(dbDir, MARKER)
}

/** The id of the store in Redis that this folder's server works on; undefined when it never did. Throws a `StoreError`. */
export function readMarker(dbDir: string): string | undefined {
  const path = markerPath(dbDir)
  if (!existsSync(path)) return undefined
  try {
    const { storeId } = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof storeId === 'string') return storeId
    throw new Error('it names no store')
  } catch (cause) {
    const reason = errorText(cause)
    const text = `"${path}" cannot be read (${reason}): restore it, or remove it when REDIS_URL names the right Redis`
    throw new StoreError('damaged', text, { cause })
  }
}

/** Another store in Redis, or none, is found out from now on, and so is a start without Redis. */
export async function writeMarker(dbDir: string, storeId: string): Promise<void> {
  await sweepTemporary(dbDir, MARKER)
  await replaceFile(markerPath(dbDir), JSON.stringify({ storeId }))
}

export function removeMarker(dbDir: string): void {
  rmSync(markerPath(dbDir), { force: true })
}

/** Such a folder would look like an empty store without REDIS_URL. */
export function refuseMarked(dbDir: string): void {
  if (!existsSync(markerPath(dbDir))) return
  const text = `The store of "${dbDir}" is in Redis ("${MARKER}" says so): set REDIS_URL, or move it here with "node scripts/store-move.js --to files"`
  throw new StoreError('damaged', text)
}
