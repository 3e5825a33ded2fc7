import { chmod, mkdir, open, readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errorText } from '../errors.ts'
import { StoreError } from './contracts/store-error.ts'

const OTHERS = 0o077
const STICKY = 0o1000

/** Makes `path` a folder that only its owner may enter. */
export async function openFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    await narrow(path)
  } catch (cause) {
    const reason = errorText(cause)
    const text = `DB_DIR "${path}" cannot be used (${reason}): name a folder that this user may write`
    throw new StoreError('unusable', text, { cause })
  }
}

async function narrow(path: string): Promise<void> {
  const { mode } = await stat(path)
  if ((mode & OTHERS) === 0) return
  try {
    // A sticky folder (such as /tmp) belongs to everybody: closing it would break the machine.
    if ((mode & STICKY) !== 0) throw new Error('the folder is shared')
    await chmod(path, 0o700)
  } catch (error) {
    const reason = errorText(error)
    process.emitWarning(`DB_DIR "${path}" is open to other users and stays so: ${reason}`)
  }
}

/** Makes what was created or renamed in the folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  // Windows cannot open a folder, and needs no such step.
  if (process.platform === 'win32') return
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Removes what a crash has left of files that were being written. */
export async function sweepTemporary(folder: string, name: string): Promise<void> {
  const left = (await readdir(folder)).filter((entry) => entry.startsWith(`${name}.tmp-`))
  await Promise.all(left.map((entry) => unlink(join(folder, entry))))
}

const OTHER = 'other'

/** The bytes of the folder's own files under the names that `nameOf` gives them; what it does not know is "other". */
export async function sizeOfFiles(
  folder: string,
  nameOf: (file: string) => string | undefined,
): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {}
  const add = async (file: string): Promise<void> => {
    // It may be gone by now.
    const found = await stat(join(folder, file)).catch(() => undefined)
    if (!found?.isFile()) return
    const name = nameOf(file) ?? OTHER
    sizes[name] = (sizes[name] ?? 0) + found.size
  }
  const files = await readdir(folder).catch(() => [])
  await Promise.all(files.map(add))
  return sizes
}
