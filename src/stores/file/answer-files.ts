import { hash, randomUUID } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf } from '../../errors.ts'

export const ANSWERS_FOLDER = 'answers'
/** How much may be on its way to the disk at once; what comes beyond is not kept. */
const MOST_WRITING_BYTES = 32 * 1024 * 1024
const NAME = /^[0-9a-f-]{36}$/

/** An answer's body on the disk: whoever reads another digest than this one has not read the whole of it. */
export interface AnswerFile {
  name: string
  digest: string
}

/** Bodies that are too large for the database, a file each: a file that is removed gives its disk back at once. */
export interface AnswerFiles {
  /** Undefined: the disk takes it not, or not fast enough. Nobody knows of the file until its name is in the database. */
  write(body: Buffer): Promise<AnswerFile | undefined>
  /** Undefined when it is gone, or not whole. */
  read(file: AnswerFile): Promise<Buffer | undefined>
  remove(names: readonly string[]): void
}

/** Files in `DB_DIR/answers`; those that are not `known` are removed: what a crash has left. */
export function openAnswerFiles(dbDir: string, known: ReadonlySet<string>): AnswerFiles {
  const folder = join(dbDir, ANSWERS_FOLDER)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  chmodSync(folder, 0o700)
  for (const name of readdirSync(folder))
    if (NAME.test(name) && !known.has(name)) rmSync(join(folder, name), { force: true })
  let writing = 0
  const remove = (name: string): void => void unlink(join(folder, name)).catch(() => undefined)
  return {
    write: async (body) => {
      if (writing + body.length > MOST_WRITING_BYTES) return undefined
      writing += body.length
      const name = randomUUID()
      try {
        // The file is not synced: what a power cut leaves of it has another digest, and is not given.
        await writeFile(join(folder, name), body, { mode: 0o600, flag: 'wx' })
        return { name, digest: hash('sha256', body) }
      } catch {
        remove(name)
        return undefined
      } finally {
        writing -= body.length
      }
    },
    read: async ({ name, digest }) => {
      const body = await readOrNone(join(folder, name))
      return body !== undefined && hash('sha256', body) === digest ? body : undefined
    },
    remove: (names) => {
      for (const name of names) remove(name)
    },
  }
}

/** Only a file that is not there is gone; one that cannot be read now may be read later. */
async function readOrNone(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
