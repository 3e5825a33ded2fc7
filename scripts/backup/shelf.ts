import { chown, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf } from '../../src/errors.ts'
import { syncFolder } from '../../src/stores/folder.ts'
import { Failure } from '../command/failures.ts'

const NAME = /^backup-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z\.tar\.gz$/
/** What is being written, and what a killed run has left. */
const PART = /^\.backup-/
const LEFT_AFTER_MS = 12 * 3_600_000

/** The folder of backups: under its final name each is whole. */
export interface Shelf {
  /** Gives the archive its name for good, and says which it is. */
  put(part: string, at: Date): Promise<string>
  /** Removes the oldest beyond so many, and says how many those were. */
  keep(most: number): Promise<number>
}

/** Makes the folder where it is missing, and removes what killed runs have left there. */
export async function openShelf(folder: string): Promise<Shelf> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await sweep(folder)
  } catch (cause) {
    throw new Failure(`"${folder}" cannot be written (${codeOf(cause)}): name another folder with --to`, {
      cause,
    })
  }
  return {
    put: async (part, at) => {
      const path = join(folder, `backup-${at.toISOString().replaceAll(/[:.]/g, '-')}.tar.gz`)
      await giveTo(part, folder)
      await rename(part, path)
      await syncFolder(folder)
      return path
    },
    keep: async (most) => {
      const old = (await readdir(folder))
        .filter((name) => NAME.test(name))
        .sort()
        .slice(0, -most)
      for (const name of old) await rm(join(folder, name))
      return old.length
    },
  }
}

/** Made by root in a folder of somebody else's it would be out of their reach. */
async function giveTo(path: string, folder: string): Promise<void> {
  const { uid, gid } = await stat(folder)
  if (process.getuid?.() === 0 && uid !== 0) await chown(path, uid, gid)
}

async function sweep(folder: string): Promise<void> {
  for (const name of (await readdir(folder)).filter((each) => PART.test(each))) {
    const path = join(folder, name)
    const { mtimeMs } = await stat(path)
    if (mtimeMs < Date.now() - LEFT_AFTER_MS) await rm(path, { recursive: true, force: true })
  }
}
