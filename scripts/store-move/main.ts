import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command, CommanderError, Option } from 'commander'
import { readSettings, SettingsError } from '../../src/config/env.ts'
import { type MoveOptions, moveStores } from '../../src/stores/move.ts'
import { StoreError } from '../../src/stores/open.ts'
import { Misuse } from '../token-gen/misuse.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const [DONE, FAILED, MISUSED] = [0, 1, 2]

/** Runs the command with its arguments: the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const { to } = buildCommand().parse(args, { from: 'user' }).opts<{ to: 'redis' | 'files' }>()
    const { accounts } = await moveStores(to, readPlaces())
    const sum = (field: 'creditedMicros' | 'chargedMicros') =>
      accounts.reduce((all, account) => all + account[field], 0) / 1_000_000
    const way = to === 'redis' ? 'start the servers with REDIS_URL' : 'start the server without REDIS_URL'
    process.stderr.write(`All is moved and verified: ${way}\n`)
    process.stdout.write(
      `tokens ${accounts.length}  credited ${sum('creditedMicros')}  charged ${sum('chargedMicros')}\n`,
    )
    return DONE
  } catch (error) {
    return report(error)
  }
}

const buildCommand = (): Command =>
  new Command('store-move')
    .description(
      'Moves tokens and balances from the files in DB_DIR to REDIS_URL, or back. No server may run.',
    )
    .addOption(new Option('--to <place>', 'where to').choices(['redis', 'files']).makeOptionMandatory())
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })

function readPlaces(): MoveOptions {
  const envFile = join(ROOT, '.env')
  if (existsSync(envFile)) process.loadEnvFile(envFile)
  const { DB_DIR, REDIS_URL, REDIS_URL_FILE, REDIS_PREFIX, DATABASE_URL, DATABASE_URL_FILE } = process.env
  const asked = { DB_DIR, REDIS_URL, REDIS_URL_FILE, REDIS_PREFIX, DATABASE_URL, DATABASE_URL_FILE }
  const { dbDir, redis, redisPrefix, databaseUrl } = readSettings(asked)
  if (redis === undefined) throw new Misuse('REDIS_URL is not set: which Redis is meant?')
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, '-')
  return { dbDir: resolve(ROOT, dbDir), redis, redisPrefix, databaseUrl, stamp }
}

function report(error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return DONE
  if (!(error instanceof Error)) throw error
  const isMisuse = error instanceof CommanderError || error instanceof Misuse
  const isExpected = error instanceof StoreError || error instanceof SettingsError
  const text = isMisuse || isExpected ? error.message : `failed: ${error.message}`
  process.stderr.write(`store-move: ${text.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' ')}\n`)
  return isMisuse ? MISUSED : FAILED
}
