import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errorText } from '../../src/errors.ts'
import { proveCopy } from '../../src/stores/backup.ts'
import { Failure } from '../command/failures.ts'
import { judge } from '../ledger-check/check.ts'
import { listArchive, unpackArchive } from './archive.ts'
import { isExpected, MANIFEST, type Manifest, readManifest, STORE_FOLDER } from './manifest.ts'

/** An unpacked backup that is proven to be whole. */
export interface Unpacked {
  folder: string
  manifest: Manifest
  /** Of the files' store; undefined: the balances are in Redis, or there are none. */
  tokens: number | undefined
  /** What does not add up in its ledger. */
  faults: readonly string[]
  remove(): Promise<void>
}

/** Unpacks a backup beside where it is wanted, and proves it; throws a `Failure` that says what is wrong. */
export async function unpack(path: string, beside: string): Promise<Unpacked> {
  const folder = await mkdtemp(join(beside, '.backup-check-'))
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    return { folder, ...(await unpackInto(path, folder)), remove }
  } catch (error) {
    await remove()
    throw new Failure(`"${path}" is no whole backup: ${errorText(error)}`, { cause: error })
  }
}

async function unpackInto(path: string, folder: string) {
  const names = await listArchive(path)
  const stranger = names.find((name) => !isExpected(name))
  if (stranger !== undefined) throw new Failure(`"${stranger}" does not belong into one`)
  if (!names.includes(MANIFEST)) throw new Failure(`it has no ${MANIFEST}`)
  await unpackArchive(path, folder)
  const manifest = await readManifest(folder)
  const store = join(folder, STORE_FOLDER)
  const books = await proveCopy(store)
  const faults = books === undefined ? [] : judge(books, undefined).faults
  return { manifest, tokens: books?.books.length, faults }
}
