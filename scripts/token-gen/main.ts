import { Command } from 'commander'
import { Misuse } from '../command/failures.ts'
import { readLocation, type StoreLocation } from '../command/location.ts'
import { DONE, runCommand } from '../command/run.ts'
import { type CreditsWish, changeCredits, type Over, rotate } from './change.ts'
import { type MintFlags, mint } from './mint.ts'
import { showTable, toJson } from './show.ts'
import { withTokens } from './tokens.ts'

interface Flags extends MintFlags, CreditsWish {
  list?: boolean
  revoke?: string
  disable?: string
  enable?: string
  rotate?: string
  overlap?: string
  json?: boolean
}

function buildCommand(): Command {
  return new Command('token-gen')
    .description('Makes, lists and changes the tokens that clients send to the gateway.')
    .option('--type <type>', 'user, or admin who may also manage the gateway (default: user)')
    .option('--userName <name>', 'whom the token belongs to (default for admin: admin)')
    .option('--token <credits>', 'credits to begin with, up to six decimals (default for admin: 1000000000)')
    .option('--name <name>', 'a name for the token, unique among its user’s')
    .option(
      '--expires <when>',
      'the last day (2030-12-31, UTC), a time (2030-12-31T18:00, UTC) or a span (30d, 12h)',
    )
    .option('--models <list>', 'the models it may use: gpt-4o,gpt-* (default: all)')
    .option('--perMinute <count>', 'requests a minute (default: the gateway’s)')
    .option('--perDay <count>', 'requests a day (default: the gateway’s)')
    .option('--inFlight <count>', 'requests that may run at once (default: any number)')
    .option('--addresses <list>', 'where it may be used from: 10.0.0.0/8,2001:db8::/32 (default: anywhere)')
    .option('--services <list>', 'the services it may call: users,/api/orders (default: all)')
    .option('--list', 'show all tokens instead')
    .option('--add <credits>', 'top up the token of --userName, --name or --id instead; -200 takes away')
    .option('--debit <credits>', 'take credits from its free balance instead')
    .option('--id <id>', 'which token to top up or to take from')
    .option('--operation <id>', 'the same one asked again is one change: for scripts that repeat')
    .option('--rotate <id>', 'give a token a new secret instead; shown once')
    .option('--overlap <span>', 'how long the old secret stays valid: 24h, 7d (default: not at all)')
    .option('--disable <id>', 'refuse a token until it is enabled again instead')
    .option('--enable <id>', 'let a disabled token in again instead')
    .option('--revoke <id>', 'end a token for good instead')
    .option('--json', 'answer in JSON')
}

/** Runs the command with its arguments: the exit code. */
export function main(args: readonly string[]): Promise<number> {
  return runCommand<Flags>(buildCommand(), args, async (flags) => {
    process.stdout.write(`${await run(flags, readLocation())}\n`)
    return DONE
  })
}

/** What is done instead of making a token, and the flags that go with it. */
const INSTEAD = {
  list: [],
  revoke: [],
  disable: [],
  enable: [],
  rotate: ['overlap'],
  add: ['id', 'type', 'userName', 'name', 'operation'],
  debit: ['id', 'type', 'userName', 'name', 'operation'],
} as const satisfies Record<string, readonly (keyof Flags)[]>

type Instead = keyof typeof INSTEAD

function isInstead(flag: string): flag is Instead {
  return flag in INSTEAD
}

/** Refuses flags that do not go together. */
function readInstead(flags: Flags): Instead | undefined {
  const given = Object.keys(flags).filter((flag) => flag !== 'json')
  const [instead] = given.filter(isInstead)
  const companions: readonly string[] = instead === undefined ? [] : INSTEAD[instead]
  const foreign = given.find((flag) =>
    instead === undefined
      ? ['id', 'operation', 'overlap'].includes(flag)
      : flag !== instead && !companions.includes(flag),
  )
  if (foreign !== undefined)
    throw new Misuse(
      `--${foreign} does not go with ${instead === undefined ? 'a token to be made' : `--${instead}`}`,
    )
  if (companions.includes('id') && flags.id === undefined && flags.userName === undefined)
    throw new Misuse(`--${instead} needs the token: name it with --id, or with --userName and perhaps --name`)
  return instead
}

async function run(flags: Flags, location: StoreLocation): Promise<string> {
  const isJson = flags.json === true
  const over: Over = (work) => withTokens(location, work)
  const instead = readInstead(flags)
  if (instead === undefined) return mint(over, flags, isJson)
  if (instead === 'add' || instead === 'debit') return changeCredits(over, flags, isJson)
  if (instead === 'rotate') return rotate(over, flags.rotate ?? '', flags.overlap, isJson)
  if (instead === 'list') {
    const tokens = await over((store) => store.list())
    return isJson ? JSON.stringify(tokens.map(toJson)) : showTable(tokens, Date.now())
  }
  const id = flags[instead] ?? ''
  const token = await over((store) => store[instead](id))
  process.stderr.write(`The token ${token.prefix}… of ${token.user} is now ${instead}d\n`)
  return isJson ? JSON.stringify(toJson(token)) : token.id
}
