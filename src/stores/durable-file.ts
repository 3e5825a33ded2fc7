import { randomBytes } from 'node:crypto'
import { open, readFile, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Adapter } from 'lowdb'
import { codeOf } from '../errors.ts'
import { syncFolder } from './folder.ts'

/** The write failed so late that the file may hold the old content or the new one: it is to be written again. */
export class UncertainWrite extends Error {}

/**
 * A lowdb adapter whose write has survived a power cut when it resolves, and has changed nothing when it rejects (but
 * for an `UncertainWrite`).
 *
 * Neither lowdb's own adapter (no fsync) nor write-file-atomic will do: the latter ignores a short write, so that a
 * nearly full disk replaces the whole file by its first half and reports success. `FileHandle.writeFile` writes on.
 */
export function durableFile<T>(path: string, parse: (text: string) => T): Adapter<T> {
  return {
    read: async () => {
      const text = await textOf(path)
      return text === undefined ? null : parse(text)
    },
    write: (content) => replaceFile(path, JSON.stringify(content)),
  }
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Throws with nothing changed, or an `UncertainWrite`. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp-${randomBytes(6).toString('hex')}`
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
  try {
    await rename(temporary, path)
    await syncFolder(dirname(path))
  } catch (cause) {
    await unlink(temporary).catch(() => undefined)
    throw new UncertainWrite('the file was replaced, but perhaps not for good', { cause })
  }
}
