import { existsSync } from 'node:fs'
import { chmod, chown, copyFile, mkdir, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { loadEnvFile } from '../../src/config/env/env-file.ts'
import { codeOf } from '../../src/errors.ts'
import { lockFolder } from '../../src/stores/backup.ts'
import { syncFolder } from '../../src/stores/folder.ts'
import type { Unpacked } from '../backup/check.ts'
import { NAMED_FOLDER, type NamedFile, STORE_FOLDER } from '../backup/manifest.ts'

export interface Placed {
  /** Where what was there before is now. */
  aside: string[]
  /** Files of settings that belong somewhere else than into this folder. */
  elsewhere: (NamedFile & { lies: string })[]
}

interface Where {
  /** The folder the server is started in. */
  home: string
  owner: number | undefined
}

const TOKENS = 'tokens.json'
const LOCK = 'lock.sqlite'

/** Puts an unpacked backup where the server looks for it. Nothing is deleted: what is there gets another name. */
export async function putInPlace(unpacked: Unpacked, where: Where): Promise<Placed> {
  const { home } = where
  const dbDir = await followed(resolve(home, folderOfStore(unpacked.folder, home)))
  const owner = where.owner ?? (await ownerOf(existsSync(dbDir) ? dbDir : home))
  const stamp = `before-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`
  const move = new Move(stamp, owner)
  // Refused while a server runs: nothing has been touched then.
  const lock = existsSync(dbDir) ? lockFolder(dbDir) : undefined
  let fresh: ReturnType<typeof lockFolder> | undefined
  try {
    if (existsSync(dbDir)) await move.setStoreAside(dbDir)
    await makeFolder(dbDir, owner)
    // Nor does a server start meanwhile.
    if (!existsSync(join(dbDir, LOCK))) fresh = lockFolder(dbDir)
    await putStore(unpacked, dbDir, move)
    await putBeside(unpacked, home, move)
    const elsewhere = await putNamed(unpacked, home, move)
    if (owner !== undefined) await chown(join(dbDir, LOCK), owner, owner)
    return { aside: move.aside, elsewhere }
  } catch (error) {
    await move.undo()
    throw error
  } finally {
    fresh?.release()
    lock?.release()
  }
}

/** Where a link leads to there are the files: on a disk of their own, say. */
function followed(path: string): Promise<string> {
  return existsSync(path) ? realpath(path) : Promise.resolve(path)
}

/** What is not ours by root's hand would be out of the server's reach. */
async function ownerOf(path: string): Promise<number | undefined> {
  return process.getuid?.() === 0 ? (await stat(path)).uid : undefined
}

async function putBeside({ folder, manifest }: Unpacked, home: string, move: Move): Promise<void> {
  const isBeside = (path: string) => ![STORE_FOLDER, NAMED_FOLDER].some((one) => path.startsWith(`${one}/`))
  for (const { path } of manifest.files.filter((file) => isBeside(file.path)))
    await move.put(join(folder, path), join(home, path), path === '.env' ? await ownerOf(home) : undefined)
}

/** Settings are the operator's, whoever the server is. */
async function putNamed(
  { folder, manifest }: Unpacked,
  home: string,
  move: Move,
): Promise<Placed['elsewhere']> {
  const elsewhere: Placed['elsewhere'] = []
  for (const { setting, path } of manifest.named) {
    const isHere = !relative(home, resolve(home, path)).startsWith('..')
    const lies = isHere ? resolve(home, path) : join(home, NAMED_FOLDER, setting)
    await move.put(join(folder, NAMED_FOLDER, setting), lies, await ownerOf(home))
    if (!isHere) elsewhere.push({ setting, path, lies })
  }
  return elsewhere
}

/** As the server will see it, with the settings that come back. */
function folderOfStore(folder: string, home: string): string {
  const settings: Record<string, string | undefined> = { DB_DIR: process.env.DB_DIR }
  const restored = join(folder, '.env')
  loadEnvFile(existsSync(restored) ? restored : join(home, '.env'), settings)
  return settings.DB_DIR || STORE_FOLDER
}

/** The tokens last: without them no server takes the rest for a store. */
async function putStore({ folder, manifest }: Unpacked, dbDir: string, move: Move): Promise<void> {
  const isLast = (path: string) => basename(path) === TOKENS
  const paths = manifest.files.map(({ path }) => path).filter((path) => path.startsWith(`${STORE_FOLDER}/`))
  for (const path of [...paths.filter((each) => !isLast(each)), ...paths.filter(isLast)])
    await move.put(join(folder, path), join(dbDir, relative(STORE_FOLDER, path)))
}

async function makeFolder(path: string, owner: number | undefined): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined || owner === undefined) return
  for (let made = path; made.length >= first.length; made = dirname(made)) await chown(made, owner, owner)
}

/** Files that change places, and back again when not all of them can. */
class Move {
  readonly aside: string[] = []
  readonly #stamp: string
  readonly #owner: number | undefined
  readonly #undo: (() => Promise<void>)[] = []

  constructor(stamp: string, owner: number | undefined) {
    this.#stamp = stamp
    this.#owner = owner
  }

  /** On the disk when it resolves, and readable by its owner alone. */
  async put(from: string, path: string, owner = this.#owner): Promise<void> {
    const to = await followed(path)
    if (existsSync(to)) this.aside.push(await this.#rename(to, `${to}.${this.#stamp}`))
    await makeFolder(dirname(to), owner)
    this.#undo.push(() => rm(to, { force: true }))
    await copyFile(from, to)
    await chmod(to, 0o600)
    if (owner !== undefined) await chown(to, owner, owner)
    const file = await open(to, 'r')
    await file.sync()
    await file.close()
    await syncFolder(dirname(to))
  }

  /** A folder that is a volume of its own cannot be renamed: what is in it goes one deeper. */
  async setStoreAside(dbDir: string): Promise<void> {
    const names = (await readdir(dbDir)).filter(
      (name) => !name.startsWith(LOCK) && !name.startsWith('before-'),
    )
    if (names.length === 0) return
    try {
      this.aside.push(await this.#rename(dbDir, `${dbDir}.${this.#stamp}`))
      // Made anew by then: a folder is not put over another.
      this.#undo.push(() => rm(dbDir, { recursive: true, force: true }))
      return
    } catch (error) {
      if (!['EBUSY', 'EXDEV', 'EACCES', 'EPERM'].includes(String(codeOf(error)))) throw error
    }
    const inner = join(dbDir, this.#stamp)
    await makeFolder(inner, this.#owner)
    this.aside.push(inner)
    for (const name of names) await this.#rename(join(dbDir, name), join(inner, name))
  }

  async undo(): Promise<void> {
    for (const step of this.#undo.reverse()) await step()
  }

  async #rename(from: string, to: string): Promise<string> {
    await rename(from, to)
    this.#undo.push(() => rename(to, from))
    return to
  }
}
