import type { Failure } from './failover.ts'

/** A provider rests when so many of its last answers were failures, */
const UNWELL_FAILURES = 5
/** ... of so many last answers. */
const LAST_ANSWERS = 10
const FIRST_REST_MS = 1_000
const LONGEST_REST_MS = 30_000
/** A provider's own `Retry-After` is believed up to here. */
const LONGEST_ASKED_REST_MS = 300_000
/** Retries that a provider which is not well gets at once, and as many in each second. */
const RETRIES = 10
/** Wildcard models make names without end: the oldest are forgotten. */
const MAX_NAMES = 10_000
/** It stands where a token's id would: our own account is refused whoever asks. */
const OUR_ACCOUNT = 'our account'
const ANSWERED = ''

/** Who asks a provider. A failure or a success counts if it was asked for after the last rest began. */
export interface Asker {
  /** The id of the token that pays. */
  readonly token: string
  readonly askedAt: number
}

/** How one provider and model did: for one token's requests, or for everybody's. */
class Standing {
  /** When the first of its failures was, or the ask whose answer ended its last rest. */
  since: number
  readonly #isOfAll: boolean
  /** Of its last answers: which token's request failed, or `ANSWERED`. */
  readonly #last: string[] = []
  /** When it may be asked again; 0: no rest has begun since it answered. */
  #until = 0
  #beganAt = Number.NEGATIVE_INFINITY
  #restMs = 0
  #probe: Asker | undefined
  /** To whom it said when to come again, and when that is. */
  #told = ANSWERED
  #toldUntil = 0
  #retries = RETRIES
  #refilledAt = 0

  constructor(since: number, isOfAll: boolean) {
    this.since = since
    this.#isOfAll = isOfAll
  }

  restsFor(now: number): number {
    return Math.max(0, this.#until - now)
  }

  admit(asker: Asker): void {
    if (this.#until === 0 || this.#until > asker.askedAt) return
    this.#probe = asker
    this.#until = asker.askedAt + Math.max(this.#restMs, FIRST_REST_MS)
  }

  mayRetry(now: number): boolean {
    if (this.#isWell()) return true
    this.#retries = Math.min(RETRIES, this.#retries + ((now - this.#refilledAt) * RETRIES) / 1000)
    this.#refilledAt = now
    return this.#retries >= 1
  }

  retried(): void {
    if (!this.#isWell()) this.#retries -= 1
  }

  /** Whether it counts. */
  failed(asker: Asker, { retryAfterMs, isAccount }: Failure, now: number): boolean {
    const isProbe = this.#probe === asker
    if (isProbe) this.#probe = undefined
    // Requests that fail together are one failure: those that were in flight when the rest began do not lengthen it.
    if (asker.askedAt < this.#beganAt) return false
    this.#remember(isAccount ? OUR_ACCOUNT : asker.token)
    if (isProbe) this.#rest(Math.min(LONGEST_REST_MS, this.#restMs * 2), now)
    else if (this.#until === 0 && (isAccount || this.#isUnwell())) this.#rest(FIRST_REST_MS, now)
    if (retryAfterMs) this.#obey(asker.token, now + Math.min(retryAfterMs, LONGEST_ASKED_REST_MS), now)
    return true
  }

  suffersFromAccount(): boolean {
    return this.#last.includes(OUR_ACCOUNT)
  }

  /** Whether nothing is left to be known of it. */
  succeeded(asker: Asker): boolean {
    if (asker.askedAt < this.#beganAt) return false
    this.#remember(ANSWERED)
    // What was asked before it was well again, and is heard of later, says nothing any more.
    if (this.#until > 0) this.since = this.#beganAt = asker.askedAt
    this.#until = 0
    this.#restMs = 0
    this.#probe = undefined
    return this.#last.every((token) => token === ANSWERED)
  }

  #remember(token: string): void {
    this.#last.push(token)
    if (this.#last.length > LAST_ANSWERS) this.#last.shift()
  }

  #isWell(): boolean {
    return this.#until === 0 && !this.#isUnwell()
  }

  /** What one token's requests cause is no fault of the provider, as far as all others are concerned. */
  #isUnwell(): boolean {
    const failed = this.#last.filter((token) => token !== ANSWERED)
    const isOfOne = this.#isOfAll && failed.every((token) => token === failed[0])
    return failed.length >= UNWELL_FAILURES && (!isOfOne || failed[0] === OUR_ACCOUNT)
  }

  #rest(restMs: number, now: number): void {
    this.#restMs = Math.max(FIRST_REST_MS, restMs)
    this.#beganAt = now
    this.#until = now + this.#restMs
  }

  /** It said when to come again: to one token alone, or to two, and then as long as it said to both. */
  #obey(token: string, until: number, now: number): void {
    const isSaidToAll = this.#told !== token && this.#toldUntil > now
    const both = this.#isOfAll ? Math.min(until, this.#toldUntil) : until
    this.#told = token
    this.#toldUntil = until
    if (this.#isOfAll && !isSaidToAll) return
    if (this.#until <= now) this.#beganAt = now
    this.#until = Math.max(this.#until, both)
  }
}

/**
 * Which providers rest after failing, and until when; one per app. A name is `provider/model`. A rest moves requests to
 * others, it never refuses one: one token's failures move its own requests, those of two tokens everybody's.
 */
export class ProviderHealth {
  // Nearly always nobody has failed: names are not even put together and hashed then.
  readonly #standings = new Map<string, Standing>()
  /** By provider. */
  readonly #keyChangedAt = new Map<string, number>()

  /** The milliseconds until requests of this token should go there again; 0: now. */
  restsFor(name: string, token: string, now: number): number {
    const ofAll = this.#standings.size > 0 ? this.#standings.get(name) : undefined
    if (!ofAll) return 0
    return Math.max(ofAll.restsFor(now), this.#ownOf(ofAll, ownName(name, token))?.restsFor(now) ?? 0)
  }

  /** How many models of each provider rest, for everybody. */
  resting(now: number): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const [name, standing] of this.#standings) {
      if (name.includes('\n') || standing.restsFor(now) === 0) continue
      const provider = providerOf(name)
      counts.set(provider, (counts.get(provider) ?? 0) + 1)
    }
    return counts
  }

  /** To be called right before asking. A provider whose rest is over is probed by one request alone. */
  admit(name: string, asker: Asker): void {
    const ofAll = this.#standings.size > 0 ? this.#standings.get(name) : undefined
    if (!ofAll) return
    ofAll.admit(asker)
    this.#ownOf(ofAll, ownName(name, asker.token))?.admit(asker)
  }

  /** Whether a request that has failed may come here: always where the provider is well, else within bounds. */
  mayRetry(name: string, token: string, now: number): boolean {
    const ofAll = this.#standings.get(name)
    if (!ofAll) return true
    return ofAll.mayRetry(now) && (this.#ownOf(ofAll, ownName(name, token))?.mayRetry(now) ?? true)
  }

  /** To be called right before asking with such a request. */
  retried(name: string, token: string): void {
    const ofAll = this.#standings.get(name)
    if (!ofAll) return
    ofAll.retried()
    this.#ownOf(ofAll, ownName(name, token))?.retried()
  }

  /** Our key at this provider is another one: what was said of the old one counts no more, nor what will be. */
  keyChanged(provider: string, now: number): void {
    this.#keyChangedAt.set(provider, now)
    for (const [name, standing] of this.#standings)
      if (name.startsWith(`${provider}/`) && standing.suffersFromAccount()) this.#standings.delete(name)
  }

  failed(name: string, asker: Asker, { failure, now }: { failure: Failure; now: number }): void {
    if (failure.isAccount && asker.askedAt < (this.#keyChangedAt.get(providerOf(name)) ?? 0)) return
    const ofAll = this.#standings.get(name) ?? this.#open(name, new Standing(now, true))
    if (!ofAll.failed(asker, failure, now) || failure.isAccount) return
    const own = ownName(name, asker.token)
    const standing = this.#ownOf(ofAll, own) ?? this.#open(own, new Standing(now, false))
    standing.failed(asker, failure, now)
  }

  succeeded(name: string, asker: Asker): void {
    const ofAll = this.#standings.size > 0 ? this.#standings.get(name) : undefined
    if (!ofAll) return
    const own = ownName(name, asker.token)
    if (this.#ownOf(ofAll, own)?.succeeded(asker)) this.#standings.delete(own)
    if (ofAll.succeeded(asker)) this.#standings.delete(name)
  }

  /** What a token suffered before everybody's rest ended, or before all was forgotten, is not held against a provider. */
  #ownOf(ofAll: Standing, name: string): Standing | undefined {
    const own = this.#standings.get(name)
    return own && own.since >= ofAll.since ? own : undefined
  }

  #open(name: string, fresh: Standing): Standing {
    if (this.#standings.size >= MAX_NAMES) {
      for (const oldest of this.#standings.keys()) {
        this.#standings.delete(oldest)
        break
      }
    }
    this.#standings.set(name, fresh)
    return fresh
  }
}

function providerOf(name: string): string {
  return name.slice(0, name.indexOf('/'))
}

/** No name of a model has a line break in it. */
function ownName(name: string, token: string): string {
  return `${name}\n${token}`
}
