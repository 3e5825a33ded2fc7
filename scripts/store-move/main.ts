import { Command, Option } from 'commander'
import { moveStores } from '../../src/stores/move.ts'
import { Misuse } from '../command/failures.ts'
import { readLocation } from '../command/location.ts'
import { DONE, runCommand } from '../command/run.ts'

interface Flags {
  to: 'redis' | 'files'
}

/** Runs the command with its arguments: the exit code. */
export function main(args: readonly string[]): Promise<number> {
  return runCommand(buildCommand(), args, move)
}

function buildCommand(): Command {
  return new Command('store-move')
    .description(
      'Moves tokens and balances from the files in DB_DIR to REDIS_URL, or back. No server may run.',
    )
    .addOption(new Option('--to <place>', 'where to').choices(['redis', 'files']).makeOptionMandatory())
}

async function move({ to }: Flags): Promise<number> {
  const { redis, ...location } = readLocation('DATABASE_URL', 'DATABASE_URL_FILE')
  if (redis === undefined) throw new Misuse('REDIS_URL is not set: which Redis is meant?')
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, '-')
  const { accounts } = await moveStores(to, { ...location, redis, stamp })
  const sum = (field: 'creditedMicros' | 'chargedMicros') =>
    accounts.reduce((all, account) => all + account[field], 0) / 1_000_000
  const way = to === 'redis' ? 'start the servers with REDIS_URL' : 'start the server without REDIS_URL'
  process.stderr.write(`All is moved and verified: ${way}\n`)
  process.stdout.write(
    `tokens ${accounts.length}  credited ${sum('creditedMicros')}  charged ${sum('chargedMicros')}\n`,
  )
  return DONE
}
