import { isAddressBlock } from '../../src/config/address-blocks.ts'
import { misfitOf, plainName } from '../../src/stores/contracts/names.ts'
import { SERVICE_NAME } from '../../src/stores/contracts/tokens.ts'
import { Misuse } from '../command/failures.ts'

const MICROS = 1_000_000
const MOST_CREDITS = 9_000_000_000
const MOST_OVERLAP_MS = 366 * 86_400_000
const MOST_CHARACTERS = 64
const UNIT_MS = { d: 86_400_000, h: 3_600_000 }
// The last moment that a Date can say.
const LATEST_MS = 8_640_000_000_000_000

/** Credits as people write them (`10000`, `0.25`) in whole micro-credits. */
export function readCredits(text: string, flag = '--token'): number {
  const match = /^(\d{1,12})(?:\.(\d{1,6}))?$/.exec(text)
  if (match === null)
    throw new Misuse(`${flag} must be a number of credits such as 10000 or 0.25, not "${shown(text)}"`)
  const [, whole = '', fraction = ''] = match
  const micros = Number(whole) * MICROS + Number(fraction.padEnd(6, '0'))
  if (micros <= MOST_CREDITS * MICROS) return micros
  throw new Misuse(`${flag} must be at most ${MOST_CREDITS} credits`)
}

/** Credits to add; `-200` takes away. */
export function readChange(flag: string, text: string): number {
  const isLess = text.startsWith('-')
  const micros = readCredits(isLess ? text.slice(1) : text, flag)
  if (micros === 0) throw new Misuse(`${flag} must not be 0`)
  return isLess ? -micros : micros
}

/** A name for people: some characters that can be seen, and none that cannot. */
export function readName(flag: string, text: string): string {
  const name = plainName(text)
  if (name === '') throw new Misuse(`${flag} must not be empty`)
  if ([...name].length > MOST_CHARACTERS)
    throw new Misuse(`${flag} must be at most ${MOST_CHARACTERS} characters long`)
  const misfit = misfitOf(name)
  if (misfit !== undefined) throw new Misuse(`${flag} must not hold ${misfit}`)
  return name
}

export function readType(text: string): 'user' | 'admin' {
  if (text === 'user' || text === 'admin') return text
  throw new Misuse(`--type must be "user" or "admin", not "${shown(text)}"`)
}

/** `30d`, `12h`, a date with a time (UTC unless it says otherwise), or a date alone: until that day is over (UTC). */
export function readExpiry(text: string, now: number): number {
  const at = readSpan(text, now) ?? readDate(text)
  if (at === undefined || at > LATEST_MS)
    throw new Misuse(
      `--expires must be a date such as 2030-12-31, a time such as 2030-12-31T18:00 or a span such as 30d or 12h, not "${shown(text)}"`,
    )
  if (at <= now) throw new Misuse(`--expires "${text}" is in the past`)
  return at
}

/** `24h`, `7d`: for so long the old secret stays good. */
export function readOverlap(text: string): number {
  const ms = readSpan(text, 0)
  if (ms !== undefined && ms <= MOST_OVERLAP_MS) return ms
  throw new Misuse(`--overlap must be a span such as 24h or 7d, at most 366d, not "${shown(text)}"`)
}

/** `10.0.0.0/8,2001:db8::/32`. */
export function readAddresses(text: string): string[] {
  const blocks = text.split(',').map((block) => block.trim())
  const wrong = blocks.find((block) => !isAddressBlock(block))
  if (wrong !== undefined)
    throw new Misuse(
      `--addresses must be addresses or blocks such as 10.0.0.0/8,2001:db8::1, not "${shown(wrong)}"`,
    )
  if (blocks.length > 100) throw new Misuse('--addresses must name at most 100 blocks')
  return blocks
}

function readSpan(text: string, now: number): number | undefined {
  const match = /^(\d{1,9})([dh])$/.exec(text)
  if (match === null) return undefined
  return now + Number(match[1]) * UNIT_MS[match[2] === 'd' ? 'd' : 'h']
}

function readDate(text: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?$/.exec(text)
  const day = match?.[1]
  // Date would take 30 February for 2 March.
  if (day === undefined || !isDay(day)) return undefined
  if (match?.[2] === undefined) return Date.parse(day) + UNIT_MS.d - 1
  const at = Date.parse(match[5] === undefined ? `${text}Z` : text)
  return Number.isNaN(at) ? undefined : at
}

function isDay(day: string): boolean {
  const at = Date.parse(day)
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(day)
}

/** `a,b,gpt-*`. */
export function readModels(text: string): string[] {
  const models = text.split(',').map((model) => readModel(model.trim()))
  if (models.length > 100) throw new Misuse('--models must name at most 100 models')
  return models
}

function readModel(model: string): string {
  const misfit = misfitOf(model)
  if (misfit !== undefined) throw new Misuse(`--models must not hold ${misfit}`)
  if (model !== '' && [...model].length <= 128) return model
  throw new Misuse('--models must be names such as gpt-4o,gpt-*')
}

/** `users,proxy,/api/orders`. */
export function readServices(text: string): string[] {
  const services = text.split(',').map((service) => service.trim())
  const wrong = services.find((service) => !SERVICE_NAME.test(service) || service.length > 128)
  if (wrong !== undefined)
    throw new Misuse(
      `--services must be names or paths of services such as users,/api/orders, not "${shown(wrong)}"`,
    )
  if (services.length > 100) throw new Misuse('--services must name at most 100 services')
  return services
}

export function readLimit(flag: string, text: string): number {
  const count = /^\d{1,10}$/.test(text) ? Number(text) : 0
  if (count >= 1 && count <= 1_000_000_000) return count
  throw new Misuse(`${flag} must be a whole number from 1 to 1000000000, not "${shown(text)}"`)
}

/** Fit for a line on a terminal. */
function shown(text: string): string {
  return text.slice(0, 40).replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/gu, '?')
}
