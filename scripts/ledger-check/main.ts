import { Command } from 'commander'
import type { Credits } from '../../src/stores/contracts/accounts.ts'
import { readBooks } from '../../src/stores/open.ts'
import { readLocation, type StoreLocation } from '../command/location.ts'
import { DONE, FAILED, runCommand } from '../command/run.ts'
import { NoServer, tokensOfServer } from '../token-gen/door.ts'
import { showCredits } from '../token-gen/show.ts'
import { judge, type Live, type Verdict } from './check.ts'

const MICROS = 1_000_000

/** Runs the command with its arguments: the exit code, 1 also when the sums do not add up. */
export function main(args: readonly string[]): Promise<number> {
  return runCommand<{ json?: boolean }>(buildCommand(), args, async ({ json }) => {
    const verdict = await check(readLocation())
    process.stdout.write(`${json ? toJson(verdict) : toText(verdict)}\n`)
    for (const fault of verdict.faults) process.stderr.write(`ledger-check: ${fault}\n`)
    return verdict.faults.length === 0 ? DONE : FAILED
  })
}

function buildCommand(): Command {
  return new Command('ledger-check')
    .description('Checks that credited = balance + held + charged, beside a running server or without one.')
    .option('--json', 'answer in JSON, with the sums of each token')
}

/** The files' sums first, the server's after them. */
async function check(location: StoreLocation): Promise<Verdict> {
  const books = await readBooks(location)
  // Redis has each token's at one moment.
  return judge(books, location.redis === undefined ? await readLive(location.dbDir) : undefined)
}

async function readLive(dbDir: string): Promise<Live> {
  try {
    return await tokensOfServer(dbDir).list()
  } catch (error) {
    if (error instanceof NoServer) return undefined
    throw error
  }
}

function shown(micros: number): string {
  return micros < 0 ? `-${showCredits(-micros)}` : showCredits(micros)
}

function toText({ books, total, faults }: Verdict): string {
  return [
    `tokens    ${books.length}`,
    `credited  ${shown(total.creditedMicros)}`,
    `balance   ${shown(total.balanceMicros)}`,
    `held      ${shown(total.heldMicros)}`,
    `charged   ${shown(total.chargedMicros)}`,
    faults.length === 0 ? 'credited = balance + held + charged' : `${faults.length} faults`,
  ].join('\n')
}

function credits({ creditedMicros, balanceMicros, heldMicros, chargedMicros }: Credits): object {
  return {
    credited: creditedMicros / MICROS,
    balance: balanceMicros / MICROS,
    held: heldMicros / MICROS,
    charged: chargedMicros / MICROS,
  }
}

function toJson({ books, total, faults }: Verdict): string {
  return JSON.stringify({
    addsUp: faults.length === 0,
    ...credits(total),
    tokens: books.map((book) => ({ id: book.tokenId, user: book.user, name: book.name, ...credits(book) })),
    faults,
  })
}
