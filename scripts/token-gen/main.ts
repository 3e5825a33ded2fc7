import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command, CommanderError } from 'commander'
import { hashSecret, makeSecret, prefixOf } from '../../src/auth/secret.ts'
import { readSettings, SettingsError } from '../../src/config/env.ts'
import { GatewayError } from '../../src/errors.ts'
import type { NewToken } from '../../src/stores/token-store.ts'
import { readCredits, readExpiry, readLimit, readModels, readName, readType } from './flags.ts'
import { Failure, Misuse } from './misuse.ts'
import { showTable, toJson } from './show.ts'
import { type Place, withTokens } from './tokens.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const ADMIN_CREDITS = '1000000000'
const [DONE, FAILED, MISUSED] = [0, 1, 2]

interface Flags {
  type?: string
  userName?: string
  token?: string
  name?: string
  expires?: string
  models?: string
  perMinute?: string
  perDay?: string
  list?: boolean
  revoke?: string
  json?: boolean
}

const buildCommand = (): Command =>
  new Command('token-gen')
    .description('Makes, lists and revokes the tokens that clients send to the gateway.')
    .option('--type <type>', 'user, or admin who may also manage the gateway (default: user)')
    .option('--userName <name>', 'whom the token belongs to (default for admin: admin)')
    .option(
      '--token <credits>',
      `credits to begin with, up to six decimals (default for admin: ${ADMIN_CREDITS})`,
    )
    .option('--name <name>', 'a name for the token, unique among its user’s')
    .option('--expires <when>', 'a date (2030-12-31) or a span (30d, 12h)')
    .option('--models <list>', 'the models it may use: gpt-4o,gpt-* (default: all)')
    .option('--perMinute <count>', 'requests a minute (default: the gateway’s)')
    .option('--perDay <count>', 'requests a day (default: the gateway’s)')
    .option('--list', 'show all tokens instead')
    .option('--revoke <id>', 'revoke a token instead')
    .option('--json', 'answer in JSON')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })

/** Runs the command with its arguments: the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const flags = buildCommand().parse(args, { from: 'user' }).opts<Flags>()
    process.stdout.write(`${await run(flags, readPlace())}\n`)
    return DONE
  } catch (error) {
    return report(error)
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return DONE
  if (!(error instanceof Error)) throw error
  const isExpected =
    error instanceof Failure || error instanceof GatewayError || error instanceof SettingsError
  const isMisuse = error instanceof CommanderError || error instanceof Misuse
  const text = isExpected || isMisuse ? error.message : `failed: ${error.message}`
  process.stderr.write(`token-gen: ${text.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' ')}\n`)
  return isMisuse ? MISUSED : FAILED
}

/** The server's own store: relative paths begin at the project, wherever the command is called. */
function readPlace(): Place {
  const envFile = join(ROOT, '.env')
  if (existsSync(envFile)) process.loadEnvFile(envFile)
  // The other settings may be wrong or secret: they are none of this command's business.
  const { DB_DIR, REDIS_URL, REDIS_URL_FILE, REDIS_PREFIX } = process.env
  const { dbDir, redis, redisPrefix } = readSettings({ DB_DIR, REDIS_URL, REDIS_URL_FILE, REDIS_PREFIX })
  return { dbDir: resolve(ROOT, dbDir), redis, redisPrefix }
}

async function run(flags: Flags, place: Place): Promise<string> {
  const { list, revoke, json, ...wish } = flags
  const instead = [list, revoke].filter((flag) => flag !== undefined)
  if (instead.length + Math.min(1, Object.keys(wish).length) > 1)
    throw new Misuse('--list and --revoke go with no other flag but --json')
  if (list) {
    const tokens = await withTokens(place, (store) => store.list())
    return json ? JSON.stringify(tokens.map(toJson)) : showTable(tokens, Date.now())
  }
  if (revoke !== undefined) {
    const token = await withTokens(place, (store) => store.revoke(revoke))
    process.stderr.write(`Revoked the token ${token.prefix}… of ${token.user}\n`)
    return json ? JSON.stringify(toJson(token)) : token.id
  }
  return mint(place, wish, json === true)
}

async function mint(place: Place, wish: Flags, isJson: boolean): Promise<string> {
  const secret = makeSecret()
  const asked = { ...readWish(wish, Date.now()), hash: hashSecret(secret), prefix: prefixOf(secret) }
  const token = await withTokens(place, (store) => store.mint(asked))
  if (isJson) return JSON.stringify({ secret, ...toJson(token) })
  process.stderr.write(`The new token of ${token.user} (${token.id}), shown this once:\n`)
  return secret
}

function readWish(flags: Flags, now: number): Omit<NewToken, 'hash' | 'prefix'> {
  const type = readType(flags.type ?? 'user')
  const user = flags.userName ?? (type === 'admin' ? 'admin' : undefined)
  if (user === undefined) throw new Misuse('--userName is missing: whom does the token belong to?')
  const credits = flags.token ?? (type === 'admin' ? ADMIN_CREDITS : undefined)
  if (credits === undefined) throw new Misuse('--token is missing: how many credits does it begin with?')
  const { name, models, expires, perMinute, perDay } = flags
  return {
    type,
    user: readName('--userName', user),
    name: name === undefined ? '' : readName('--name', name),
    models: models === undefined ? [] : readModels(models),
    creditedMicros: readCredits(credits),
    ...(expires === undefined ? {} : { expiresAt: readExpiry(expires, now) }),
    ...(perMinute === undefined ? {} : { requestsPerMinute: readLimit('--perMinute', perMinute) }),
    ...(perDay === undefined ? {} : { requestsPerDay: readLimit('--perDay', perDay) }),
  }
}
