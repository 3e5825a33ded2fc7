import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { StoreError } from './store-error.ts'

const MARKER = 'redis-store.json'

export const markerPath = (dbDir: string): string => join(dbDir, MARKER)

/** The id of the store in Redis that this folder's server works on; undefined when it never did. */
export function readMarker(dbDir: string): string | undefined {
  const path = markerPath(dbDir)
  return existsSync(path) ? String(JSON.parse(readFileSync(path, 'utf8')).storeId) : undefined
}

/** From now on another store in Redis, or none, is found out, and so is a start without Redis. */
export const writeMarker = (dbDir: string, storeId: string): void =>
  writeFileSync(markerPath(dbDir), JSON.stringify({ storeId }), { mode: 0o600 })

export const removeMarker = (dbDir: string): void => rmSync(markerPath(dbDir), { force: true })

/** Without REDIS_URL such a folder would look like an empty store. */
export function refuseMarked(dbDir: string): void {
  if (!existsSync(markerPath(dbDir))) return
  const text = `The store of "${dbDir}" is in Redis ("${MARKER}" says so): set REDIS_URL, or move it here with "node scripts/store-move.js --to files"`
  throw new StoreError('damaged', text)
}
