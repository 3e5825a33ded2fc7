import { readFileSync, renameSync, writeFileSync } from 'node:fs'

/** The orders of a name that have brought no certificate, and where the name pointed at the last of them. */
export interface Attempts {
  timesMs: readonly number[]
  addresses: readonly string[]
}

export const NO_ATTEMPTS: Attempts = { timesMs: [], addresses: [] }

/**
 * The limits are in units of the shortest wait, 2 minutes: two in ten minutes and four an hour, where Let's Encrypt
 * allows five failures.
 */
const LIMITS = [
  { most: 2, units: 5 },
  { most: 4, units: 30 },
]
const LONGEST_GAP_UNITS = 30
/** More than any limit looks back at. */
const KEPT = 12

function isSame(some: readonly string[], others: readonly string[]) {
  return some.length === others.length && some.every((one) => others.includes(one))
}

interface Now {
  nowMs: number
  retryMs: number
  addresses: readonly string[]
}

/** When the next order may be made: waits double, but for a name that points elsewhere now; the limits hold always. */
export function nextAttemptMs(attempts: Attempts, { nowMs, retryMs, addresses }: Now): number {
  const { timesMs } = attempts
  const last = timesMs.at(-1)
  if (last === undefined) return nowMs
  const gapUnits = Math.min(2 ** (timesMs.length - 1), LONGEST_GAP_UNITS)
  const doubled = isSame(attempts.addresses, addresses) ? last + gapUnits * retryMs : nowMs
  const limited = LIMITS.map(({ most, units }) => (timesMs.at(-most) ?? -Infinity) + units * retryMs)
  return Math.max(nowMs, doubled, ...limited)
}

/** Adds one; old ones are dropped. */
export function addAttempt({ timesMs }: Attempts, nowMs: number, addresses: readonly string[]): Attempts {
  return {
    timesMs: [...timesMs, nowMs].slice(-KEPT),
    addresses,
  }
}

/** Attempts on disk: a restart and a repeated "up" begin no new count. */
export interface AttemptStore {
  /** None is later than now: a clock that was set back makes nobody wait for longer than the rules. */
  of(name: string, nowMs: number): Attempts
  /** Written before it returns. */
  add(name: string, nowMs: number, addresses: readonly string[]): void
  forget(name: string): void
}

/** Another authority has limits of its own: its file begins anew. */
export function openAttempts(file: string, authority: string): AttemptStore {
  const names = readAttempts(file, authority)
  const write = () => {
    writeFileSync(`${file}.part`, JSON.stringify({ authority, names: Object.fromEntries(names) }))
    renameSync(`${file}.part`, file)
  }
  const of = (name: string, nowMs: number) => {
    const attempts = names.get(name) ?? NO_ATTEMPTS
    if (attempts.timesMs.every((timeMs) => timeMs <= nowMs)) return attempts
    const corrected = { ...attempts, timesMs: attempts.timesMs.map((timeMs) => Math.min(timeMs, nowMs)) }
    names.set(name, corrected)
    return corrected
  }
  return {
    of,
    add(name, nowMs, addresses) {
      names.set(name, addAttempt(of(name, nowMs), nowMs, addresses))
      write()
    },
    forget(name) {
      if (names.delete(name)) write()
    },
  }
}

function isList(value: unknown, type: string): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === type)
}

function isAttempts(value: unknown): value is Attempts {
  return (
    typeof value === 'object' &&
    value !== null &&
    'timesMs' in value &&
    isList(value.timesMs, 'number') &&
    'addresses' in value &&
    isList(value.addresses, 'string')
  )
}

/** A file that is missing, damaged or another authority's counts as empty. */
function readAttempts(file: string, authority: string): Map<string, Attempts> {
  try {
    const kept: { authority?: unknown; names?: object } = JSON.parse(readFileSync(file, 'utf8'))
    if (kept.authority !== authority) return new Map()
    const rows: [string, unknown][] = Object.entries(kept.names ?? {})
    return new Map(rows.flatMap(([name, value]) => (isAttempts(value) ? [[name, value]] : [])))
  } catch {
    return new Map()
  }
}
