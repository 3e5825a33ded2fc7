import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command, CommanderError } from 'commander'
import { readSettings, SettingsError } from '../../src/config/env.ts'
import { readBooks, StoreError, type StoreSettings } from '../../src/stores/open.ts'
import type { Credits } from '../../src/stores/token-store.ts'
import { NoServer, tokensOfServer } from '../token-gen/door.ts'
import { Failure } from '../token-gen/misuse.ts'
import { showCredits } from '../token-gen/show.ts'
import { judge, type Live, type Verdict } from './check.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const [ADDS_UP, WRONG, MISUSED] = [0, 1, 2]
const MICROS = 1_000_000

/** Runs the command with its arguments: the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const { json } = buildCommand().parse(args, { from: 'user' }).opts<{ json?: boolean }>()
    const verdict = await check(readPlace())
    process.stdout.write(`${json ? toJson(verdict) : toText(verdict)}\n`)
    for (const fault of verdict.faults) process.stderr.write(`ledger-check: ${fault}\n`)
    return verdict.faults.length === 0 ? ADDS_UP : WRONG
  } catch (error) {
    return report(error)
  }
}

const buildCommand = (): Command =>
  new Command('ledger-check')
    .description('Checks that credited = balance + held + charged, beside a running server or without one.')
    .option('--json', 'answer in JSON, with the sums of each token')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })

/** The files' sums first, the server's after them. */
async function check(place: StoreSettings): Promise<Verdict> {
  const books = await readBooks(place)
  // Redis has them all at one moment.
  return judge(books, place.redis === undefined ? await readLive(place.dbDir) : undefined)
}

async function readLive(dbDir: string): Promise<Live> {
  try {
    return await tokensOfServer(dbDir).list()
  } catch (error) {
    if (error instanceof NoServer) return undefined
    throw error
  }
}

/** The server's own store: relative paths begin at the project, wherever the command is called. */
function readPlace(): StoreSettings {
  const envFile = join(ROOT, '.env')
  if (existsSync(envFile)) process.loadEnvFile(envFile)
  const { DB_DIR, REDIS_URL, REDIS_URL_FILE, REDIS_PREFIX } = process.env
  const { dbDir, ...rest } = readSettings({ DB_DIR, REDIS_URL, REDIS_URL_FILE, REDIS_PREFIX })
  return { ...rest, dbDir: resolve(ROOT, dbDir) }
}

function report(error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return ADDS_UP
  if (!(error instanceof Error)) throw error
  const isExpected = [Failure, StoreError, SettingsError].some((kind) => error instanceof kind)
  const isMisuse = error instanceof CommanderError
  const text = isExpected || isMisuse ? error.message : `failed: ${error.message}`
  process.stderr.write(`ledger-check: ${text.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' ')}\n`)
  return isMisuse ? MISUSED : WRONG
}

const shown = (micros: number): string => (micros < 0 ? `-${showCredits(-micros)}` : showCredits(micros))

const toText = ({ books, total, faults }: Verdict): string =>
  [
    `tokens    ${books.length}`,
    `credited  ${shown(total.creditedMicros)}`,
    `balance   ${shown(total.balanceMicros)}`,
    `held      ${shown(total.heldMicros)}`,
    `charged   ${shown(total.chargedMicros)}`,
    faults.length === 0 ? 'credited = balance + held + charged' : `${faults.length} faults`,
  ].join('\n')

const credits = ({ creditedMicros, balanceMicros, heldMicros, chargedMicros }: Credits): object => ({
  credited: creditedMicros / MICROS,
  balance: balanceMicros / MICROS,
  held: heldMicros / MICROS,
  charged: chargedMicros / MICROS,
})

const toJson = ({ books, total, faults }: Verdict): string =>
  JSON.stringify({
    addsUp: faults.length === 0,
    ...credits(total),
    tokens: books.map((book) => ({ id: book.tokenId, user: book.user, name: book.name, ...credits(book) })),
    faults,
  })
