import { codeOf } from '../errors.ts'
import type { Warn } from './contracts/store-error.ts'

/** Why a store cannot be used, in words that name no secret, and the way out. */
export interface OutageReason {
  reason: string
  way: string
  /** `secret`: it refused who we say we are; `setting`: somebody must change something; undefined: it may pass by itself. */
  fault?: 'secret' | 'setting'
}

const NO_TRUST =
  'name the certificate of the authority that signed it in NODE_EXTRA_CA_CERTS (a PEM file, read at the start)'

type Known = Readonly<Record<string, OutageReason>>

function setting(reason: string, way: string): OutageReason {
  return { reason, way, fault: 'setting' }
}

export const CLOSED: OutageReason = {
  reason: 'it closed the connection',
  way: 'look at its log: it is going down, takes no more clients (maxclients), or wants TLS (then the URL must say so)',
}

/** What Node says of a network and of certificates. */
const NETWORK: Known = {
  ENOTFOUND: setting(
    'its host name does not exist',
    'check the host in the URL, and the DNS of this machine',
  ),
  EAI_AGAIN: { reason: 'DNS gives no answer', way: 'look at the DNS server of this machine or container' },
  ECONNREFUSED: {
    reason: 'the connection was refused: nothing listens there',
    way: 'start it, or check host and port in the URL',
  },
  ETIMEDOUT: {
    reason: 'it gives no answer',
    way: 'look at it and at firewalls between; a port that speaks no TLS is silent too when the URL asks for TLS',
  },
  EHOSTUNREACH: { reason: 'there is no way to its host', way: 'look at the network between' },
  ENETUNREACH: { reason: 'there is no way to its network', way: 'look at the network between' },
  ECONNRESET: CLOSED,
  EPIPE: CLOSED,
  EMFILE: { reason: 'this process may open no more files', way: 'raise its limit (ulimit -n)' },
  ENFILE: { reason: 'this machine may open no more files', way: 'raise its limit (fs.file-max)' },
  CERT_HAS_EXPIRED: setting('its certificate has expired', 'renew it'),
  CERT_NOT_YET_VALID: setting('its certificate is not valid yet', 'check the clocks of both machines'),
  DEPTH_ZERO_SELF_SIGNED_CERT: setting('its certificate is signed by itself', NO_TRUST),
  SELF_SIGNED_CERT_IN_CHAIN: setting('nobody here trusts the authority of its certificate', NO_TRUST),
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: setting('nobody here trusts the authority of its certificate', NO_TRUST),
  UNABLE_TO_GET_ISSUER_CERT: setting('nobody here trusts the authority of its certificate', NO_TRUST),
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: setting('nobody here trusts the authority of its certificate', NO_TRUST),
  ERR_TLS_CERT_ALTNAME_INVALID: setting(
    'its certificate is for another host',
    'use the host that the certificate names, or issue one for this host',
  ),
  ERR_SSL_WRONG_VERSION_NUMBER: setting(
    'it speaks no TLS at this port',
    'check the port, or whether the URL asks for TLS',
  ),
  EPROTO: setting('TLS did not come to stand', 'check the port, or whether the URL asks for TLS'),
}

const LONGEST_CODE = 64

/** What every network client may meet; undefined: nothing of that kind. */
export function describeNetwork(error: unknown): OutageReason | undefined {
  const code = codeOf(error)
  return typeof code === 'string' && Object.hasOwn(NETWORK, code) ? NETWORK[code] : undefined
}

/** A code alone is still a word to search for; nothing else of an unknown error may be shown. */
export function unknownReason(error: unknown): OutageReason {
  const code = codeOf(error)
  const word = typeof code === 'string' ? code.slice(0, LONGEST_CODE) : 'an unknown error'
  return { reason: word, way: 'look at its own log' }
}

/** The same state is told again after so long. */
const AGAIN_MS = 60_000
/** Another reason of the same outage, or the next outage, is not told sooner. */
const REST_MS = 5_000

interface OutageWords {
  away: string
  back: string
}

/** One line when a store is away, one when it is back, and one now and then between. */
export class Outage {
  readonly #warn: Warn
  readonly #words: OutageWords
  #since: number | undefined
  #toldAt = Number.NEGATIVE_INFINITY
  /** The reason that stands in the log; undefined: none of this outage does. */
  #told: string | undefined

  constructor(warn: Warn, words: OutageWords) {
    this.#warn = warn
    this.#words = words
  }

  away({ reason, way }: OutageReason): void {
    const now = performance.now()
    this.#since ??= now
    if (now - this.#toldAt < (reason === this.#told ? AGAIN_MS : REST_MS)) return
    this.#toldAt = now
    this.#told = reason
    this.#warn({ reason, way, awayMs: Math.round(now - this.#since) }, this.#words.away)
  }

  back(): void {
    if (this.#since === undefined) return
    const awayMs = Math.round(performance.now() - this.#since)
    this.#since = undefined
    if (this.#told === undefined) return
    this.#told = undefined
    this.#warn({ awayMs }, this.#words.back)
  }
}
