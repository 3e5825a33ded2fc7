import { codeOf } from '../../errors.ts'
import type { Warn } from '../contracts/store-error.ts'
import { describeNetwork, Outage, type OutageReason, unknownReason } from '../outage.ts'

const SECRET =
  'put the right ones into DATABASE_URL (a file named by DATABASE_URL_FILE is read again by itself)'

/** SQLSTATE: what it means for this gateway. */
const STATES: Readonly<Record<string, OutageReason>> = {
  '28P01': { reason: '28P01: it refuses this user or password', way: SECRET, fault: 'secret' },
  '28000': {
    reason: '28000: it lets this user in from here in no way (pg_hba.conf)',
    way: `allow it there, with TLS if it asks for that, or ${SECRET}`,
    fault: 'secret',
  },
  '3D000': {
    reason: '3D000: there is no database of that name',
    way: 'create it, or mend DATABASE_URL',
    fault: 'setting',
  },
  '42501': {
    reason: '42501: its user may not do that',
    way: 'let it create and write tables in its schema (GRANT CREATE, USAGE ON SCHEMA)',
    fault: 'setting',
  },
  '53300': {
    reason: '53300: it takes no more connections',
    way: 'raise max_connections, or look for who holds so many; a gateway holds 4',
  },
  '53100': { reason: '53100: its disk is full', way: 'give it room' },
  '57P03': { reason: '57P03: it is starting or recovering', way: 'wait; that passes' },
  '57P01': { reason: '57P01: it is being stopped', way: 'start it again' },
  '25006': { reason: '25006: it is a standby and takes no writes', way: 'name the primary in DATABASE_URL' },
}

const LATE = /timeout|terminated|ended unexpectedly/i

function describeDatabase(error: unknown): OutageReason {
  const code = codeOf(error)
  const state = typeof code === 'string' ? STATES[code] : undefined
  if (state) return state
  const known = describeNetwork(error)
  if (known) return known
  if (code === 'ERR_INVALID_URL')
    return {
      reason: 'DATABASE_URL cannot be read',
      way: 'write special characters as %40 for "@"',
      fault: 'setting',
    }
  // Errors of the driver itself have no code.
  const text = error instanceof Error ? error.message : ''
  if (/does not support SSL/.test(text))
    return { reason: 'it speaks no TLS', way: 'check sslmode in DATABASE_URL', fault: 'setting' }
  if (/password must be a string/.test(text))
    return { reason: 'it wants a password, and DATABASE_URL names none', way: SECRET, fault: 'secret' }
  return LATE.test(text)
    ? { reason: 'it gives no answer', way: 'look at it, and at the network between' }
    : unknownReason(error)
}

/** A database that may move or change its password; whoever connects asks for the URL anew. */
export class Database {
  url: string
  readonly #outage: Outage
  readonly #onRefused: () => void

  /** `onRefused`: it refused our name or password; there may be others by now. */
  constructor(url: string, warn: Warn = () => undefined, onRefused: () => void = () => undefined) {
    this.url = url
    this.#onRefused = onRefused
    this.#outage = new Outage(warn, {
      away: 'PostgreSQL cannot be used: usage rows wait in Redis, large answers are not kept',
      back: 'PostgreSQL answers again',
    })
  }

  failed(error: unknown): void {
    const reason = describeDatabase(error)
    this.#outage.away(reason)
    if (reason.fault === 'secret') this.#onRefused()
  }

  answers(): void {
    this.#outage.back()
  }
}
