import { constants, type Stats } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../../errors.ts'
import { copySqlite, openSqliteToRead, type Sqlite } from '../sql/sqlite.ts'
import { ANSWERS_FOLDER } from './answer-files.ts'
import { LEDGER_FILE } from './ledger-file.ts'
import { TOKENS_FILE } from './tokens.ts'

/** Locks, what SQLite keeps beside a database, and what is being written. */
const PASSING = /^lock\.sqlite|-(wal|shm|journal)$|\.tmp(-|$)/
/** What a move or a restore has set aside. */
const ASIDE = /\.(redis|files|moved|before)-\d{4}-/
/** What else an operator has put there, under a name of their own kind, is theirs to keep. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/
const TRIES = 50
const TRY_AGAIN_MS = 20

/**
 * Copies what `dbDir` keeps into the empty folder `target`, beside the server that works in it: nobody waits for it. Ledger
 * and tokens are those of one moment, the rest is younger. A start on the copy does what one after a crash at that moment
 * would do.
 */
export async function copyFolder(dbDir: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o700 })
  const names = await filesOf(dbDir)
  if (names.includes(LEDGER_FILE)) await copyPair(dbDir, target)
  for (const name of names) {
    if (name === LEDGER_FILE || name === TOKENS_FILE) continue
    const [from, to] = [join(dbDir, name), join(target, name)]
    await (name.endsWith('.sqlite') ? copyDatabase(from, to) : copyIfThere(from, to))
  }
  await copyAnswers(dbDir, target)
}

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const isKept = (name: string) => NAME.test(name) && !PASSING.test(name) && !ASIDE.test(name)
  return entries.flatMap((entry) => (entry.isFile() && isKept(entry.name) ? [entry.name] : []))
}

/** The tokens are read while the ledger's snapshot is begun: unchanged before and after, both are of that moment. */
async function copyPair(dbDir: string, target: string): Promise<void> {
  const tokensPath = join(dbDir, TOKENS_FILE)
  const db = openSqliteToRead(join(dbDir, LEDGER_FILE))
  try {
    let text: string | undefined
    for (let left = TRIES; left > 0; left--) {
      const before = await statIfThere(tokensPath)
      beginSnapshot(db)
      text = before && (await readFile(tokensPath, 'utf8'))
      // The last try is taken as it is: tokens that are younger than the ledger lose nothing, the other way round they would.
      if (left === 1 || isSame(before, await statIfThere(tokensPath))) break
      db.exec('ROLLBACK')
      await sleep(TRY_AGAIN_MS)
    }
    await copySqlite(db, join(target, LEDGER_FILE))
    if (text !== undefined) await writeFile(join(target, TOKENS_FILE), text, { mode: 0o600, flag: 'wx' })
  } finally {
    db.close()
  }
}

/** From here on this connection sees what was committed until now, and nothing younger. */
function beginSnapshot(db: Sqlite): void {
  db.exec('BEGIN')
  db.prepare('SELECT count(*) FROM sqlite_schema').get()
}

function isSame(one: Stats | undefined, other: Stats | undefined): boolean {
  return one?.ino === other?.ino && one?.mtimeMs === other?.mtimeMs
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function copyDatabase(from: string, to: string): Promise<void> {
  const db = openSqliteToRead(from)
  try {
    await copySqlite(db, to)
  } finally {
    db.close()
  }
}

/** Those that came after the snapshot are nobody's, and go at the next start. */
async function copyAnswers(dbDir: string, target: string): Promise<void> {
  const [from, to] = [join(dbDir, ANSWERS_FOLDER), join(target, ANSWERS_FOLDER)]
  if ((await statIfThere(from)) === undefined) return
  await mkdir(to, { mode: 0o700 })
  for (const name of await filesOf(from)) await copyIfThere(join(from, name), join(to, name))
}

/** What is removed meanwhile was of no use any more. */
async function copyIfThere(from: string, to: string): Promise<void> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
}
