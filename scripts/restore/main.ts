import { setPriority, tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { type Unpacked, unpack } from '../backup/check.ts'
import { startFolder } from '../command/location.ts'
import { DONE, FAILED, runCommand } from '../command/run.ts'
import { type Placed, putInPlace } from './place.ts'

interface Flags {
  check?: boolean
  owner?: string
  start: string
}

const LEAST_PRIORITY = 19

/** Runs the command with its arguments: the exit code. */
export function main(args: readonly string[]): Promise<number> {
  const command = buildCommand()
  return runCommand<Flags>(command, args, async (flags) => {
    process.umask(0o077)
    const path = resolve(command.args[0] ?? '')
    return flags.check ? check(path) : restore(path, flags)
  })
}

function buildCommand(): Command {
  return new Command('restore')
    .description(
      'Puts a backup back: store, settings, certificates. No server may run; what is there is set aside.',
    )
    .argument('<file>', 'the backup')
    .option('--check', 'only say whether it is whole; changes nothing, beside a running server as well')
    .option('--owner <uid>', 'whose the files are to be, as root')
    .option('--start <words>', 'what is to be done next', 'npm start')
}

async function check(path: string): Promise<number> {
  setPriority(LEAST_PRIORITY)
  const unpacked = await unpack(path, tmpdir())
  await unpacked.remove()
  process.stdout.write(`whole: ${describe(unpacked)}\n`)
  for (const fault of unpacked.faults) process.stderr.write(`restore: the ledger does not add up: ${fault}\n`)
  return unpacked.faults.length === 0 ? DONE : FAILED
}

async function restore(path: string, { owner, start }: Flags): Promise<number> {
  const home = startFolder()
  const unpacked = await unpack(path, home)
  try {
    const placed = await putInPlace(unpacked, {
      home,
      owner: owner === undefined ? undefined : Number(owner),
    })
    process.stdout.write(`${toText(unpacked, placed, start)}\n`)
    return DONE
  } finally {
    await unpacked.remove()
  }
}

function describe({ manifest, tokens }: Unpacked): string {
  const { at, files, store } = manifest
  const what = store === 'files' ? `${tokens} tokens` : 'a store in Redis'
  const hasDump = files.some((file) => file.path.endsWith('.rdb'))
  const lacks =
    store === 'redis' && !hasDump ? ', without its balances: restore that Redis from its own backup' : ''
  return `${what} as of ${at}, ${files.length} files${lacks}`
}

function toText(unpacked: Unpacked, { aside, elsewhere }: Placed, start: string): string {
  return [
    `Restored: ${describe(unpacked)}`,
    ...aside.map((path) => `Set aside: ${path}`),
    ...elsewhere.map(({ setting, path, lies }) => `${setting} names ${path}: put ${lies} there`),
    `Now: ${start}. What ran at that moment is settled as after a crash; then "node scripts/ledger-check.js" shows the sums.`,
  ].join('\n')
}
