import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { setPriority } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { codeOf, errorText } from '../../src/errors.ts'
import { copyStore, hasStore, isOfRedis } from '../../src/stores/backup.ts'
import { Failure } from '../command/failures.ts'
import { readLocation, startFolder } from '../command/location.ts'
import { DONE, FAILED, runCommand } from '../command/run.ts'
import { writeArchive } from './archive.ts'
import { copyBeside, copyNamed, layDump } from './beside.ts'
import { unpack } from './check.ts'
import { MANIFEST, type Manifest, STORE_FOLDER, writeManifest } from './manifest.ts'
import { openShelf } from './shelf.ts'

interface Flags {
  to: string
  keep?: number
  redisDump?: string
  filesRoot?: string
}

/** Whoever serves goes first. */
const LEAST_PRIORITY = 19

/** Runs the command with its arguments: the exit code. */
export function main(args: readonly string[]): Promise<number> {
  return runCommand<Flags>(buildCommand(), args, async (flags) => {
    setPriority(LEAST_PRIORITY)
    process.umask(0o077)
    return backUp(flags)
  })
}

function buildCommand(): Command {
  return new Command('backup')
    .description(
      'Backs the gateway up while it runs: store, settings, certificates. The last line is the file.',
    )
    .option('--to <folder>', 'where backups are kept', 'backups')
    .option('--keep <number>', 'how many stay there; the oldest are removed (all stay)', readNumber)
    .option('--redis-dump <file>', 'the dump of Redis that belongs to it (scripts/backup.sh makes it)')
    .option(
      '--files-root <folder>',
      'where the server runs, if its settings name files by other paths than here',
    )
}

function readNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('a number from 1 on')
  return Number(text)
}

async function backUp(flags: Flags): Promise<number> {
  const { dbDir } = readLocation()
  if (!existsSync(dbDir) || !hasStore(dbDir))
    throw new Failure(`"${dbDir}" holds no store: run this in the gateway's folder, or set DB_DIR`)
  const to = resolve(flags.to)
  const shelf = await openShelf(to)
  const staging = await mkdtemp(join(to, '.backup-'))
  const stopped = removeWhenStopped(staging)
  try {
    const at = new Date()
    const part = join(staging, 'archive')
    const manifest = await pack(flags, { dbDir, at, folder: join(staging, 'content'), part })
    const { tokens, faults, remove } = await unpack(part, staging)
    await remove()
    const { size } = await stat(part)
    const path = await shelf.put(part, at)
    process.stderr.write(`Written and read back: ${describe(manifest, tokens)}, ${megabytes(size)} MB\n`)
    process.stdout.write(`${path}\n`)
    for (const fault of faults) process.stderr.write(`backup: the ledger does not add up: ${fault}\n`)
    // The older ones may be needed then.
    if (faults.length > 0) return FAILED
    const removed = flags.keep === undefined ? 0 : await shelf.keep(flags.keep)
    if (removed > 0) process.stderr.write(`Removed: the ${removed} oldest\n`)
    return DONE
  } catch (error) {
    throw asFailure(error, to)
  } finally {
    stopped.forget()
    await rm(staging, { recursive: true, force: true })
  }
}

interface Packing {
  dbDir: string
  at: Date
  folder: string
  part: string
}

/** Redis' dump is older than the files: rows that were carried over since are recognised, none is missing. */
async function pack(flags: Flags, { dbDir, at, folder, part }: Packing): Promise<Manifest> {
  await mkdir(folder, { mode: 0o700 })
  if (flags.redisDump !== undefined) await layDump(resolve(flags.redisDump), folder)
  await copyStore(dbDir, join(folder, STORE_FOLDER))
  const home = startFolder()
  await copyBeside(home, folder)
  const named = await copyNamed(home, resolve(flags.filesRoot ?? home), folder)
  const store = isOfRedis(dbDir) ? 'redis' : 'files'
  const deployment = flags.filesRoot === undefined ? 'plain' : 'compose'
  const manifest = await writeManifest(folder, { at: at.toISOString(), store, deployment, named })
  const tops = new Set(manifest.files.map(({ path }) => path.split('/')[0] ?? ''))
  await writeArchive(folder, [MANIFEST, ...tops], part)
  // Twice its size is enough: the next step reads the archive back.
  await rm(folder, { recursive: true })
  return manifest
}

function describe({ store, files }: Manifest, tokens: number | undefined): string {
  if (store === 'files') return `${tokens} tokens`
  const hasDump = files.some(({ path }) => path.endsWith('.rdb'))
  return hasDump
    ? 'Redis and what lies beside it'
    : 'all but the balances, which are in a Redis elsewhere: back that up there'
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}

function asFailure(error: unknown, to: string): unknown {
  if (codeOf(error) === 'ENOSPC') return new Failure(`the disk of "${to}" is full: nothing was written`)
  if (codeOf(error) === 'EACCES')
    return new Failure(`${errorText(error)}: run this as the gateway's user or as root`)
  return error
}

/** Told to stop it leaves nothing behind. */
function removeWhenStopped(staging: string): { forget(): void } {
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
  const stop = (): void => {
    void rm(staging, { recursive: true, force: true }).finally(() => {
      process.stderr.write('backup: stopped: nothing was written\n')
      process.exit(FAILED)
    })
  }
  for (const signal of signals) process.once(signal, stop)
  return {
    forget: () => {
      for (const signal of signals) process.off(signal, stop)
    },
  }
}
