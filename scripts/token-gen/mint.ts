import { hashSecret, makeSecret, prefixOf } from '../../src/auth/client.ts'
import type { NewToken } from '../../src/stores/contracts/tokens.ts'
import { Misuse } from '../command/failures.ts'
import type { Over } from './change.ts'
import {
  readAddresses,
  readCredits,
  readExpiry,
  readLimit,
  readModels,
  readName,
  readServices,
  readType,
} from './flags.ts'
import { showTime, toJson } from './show.ts'

const ADMIN_CREDITS = '1000000000'

/** The flags of a token to be made. */
export interface MintFlags {
  type?: string
  userName?: string
  token?: string
  name?: string
  expires?: string
  models?: string
  perMinute?: string
  perDay?: string
  inFlight?: string
  addresses?: string
  services?: string
}

/** Makes a token: prints its secret, once. */
export async function mint(over: Over, wish: MintFlags, isJson: boolean): Promise<string> {
  const secret = makeSecret()
  const asked = { ...readWish(wish, Date.now()), hash: hashSecret(secret), prefix: prefixOf(secret) }
  const token = await over((store) => store.mint(asked))
  if (isJson) return JSON.stringify({ secret, ...toJson(token) })
  const until = token.expiresAt === undefined ? '' : `; valid until ${showTime(token.expiresAt)}`
  process.stderr.write(`The new token of ${token.user} (${token.id}), shown this once${until}:\n`)
  return secret
}

function readWish(flags: MintFlags, now: number): Omit<NewToken, 'hash' | 'prefix'> {
  const type = readType(flags.type ?? 'user')
  const user = flags.userName ?? (type === 'admin' ? 'admin' : undefined)
  if (user === undefined) throw new Misuse('--userName is missing: whom does the token belong to?')
  const credits = flags.token ?? (type === 'admin' ? ADMIN_CREDITS : undefined)
  if (credits === undefined) throw new Misuse('--token is missing: how many credits does it begin with?')
  const { name, models, expires, perMinute, perDay, inFlight, addresses, services } = flags
  return {
    type,
    user: readName('--userName', user),
    name: name === undefined ? '' : readName('--name', name),
    models: models === undefined ? [] : readModels(models),
    creditedMicros: readCredits(credits),
    ...(expires === undefined ? {} : { expiresAt: readExpiry(expires, now) }),
    ...(perMinute === undefined ? {} : { requestsPerMinute: readLimit('--perMinute', perMinute) }),
    ...(inFlight === undefined ? {} : { requestsInFlight: readLimit('--inFlight', inFlight) }),
    ...(addresses === undefined ? {} : { addresses: readAddresses(addresses) }),
    ...(services === undefined ? {} : { services: readServices(services) }),
    ...(perDay === undefined ? {} : { requestsPerDay: readLimit('--perDay', perDay) }),
  }
}
