/** Which of a target's asks this is, and when it began: no two of one target are the same. */
export type Ask = number

/** A target rests when so many of its asks in a row could not be dialed, were reset or late, */
const FAILURES_IN_A_ROW = 3
/** ... or so many answers in a row, these among them, were of `FAULTS`: a path of its own may say 503 for long. */
const FAULTS_IN_A_ROW = 5
/** What stands in front of a service says so of a service that is away; any other status is the service's word. */
const FAULTS = new Set([502, 503, 504])
const FIRST_REST_MS = 1_000
const LONGEST_REST_MS = 30_000
/** So long after a rest, with nobody who asked, what was before it says nothing any more. */
const FORGOTTEN_MS = 60_000
/** A probe that takes longer, such as an upload of hours, holds nobody up: another request is one as well. */
const PROBE_MS = 10_000
/** Who answers others well is not unwell for what one client asks: a target that is has no such answer for so long. */
const WELL_MS = 1_000
/** What no request can bring about: nobody is there. */
const GONE = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'CONNECT_TIMEOUT',
])
/** Asks of one moment are told apart by so much. */
const APART_MS = 0.001

/** Why and when, on the clock that never goes back. */
export interface LastFailure {
  reason: string
  atMs: number
}

/** Whether an answer of this status counts as a failure of the target. */
export function isFault(status: number): boolean {
  return FAULTS.has(status)
}

/**
 * How one target did, whichever route asked: it rests after failing, for longer each time, and one request alone is let
 * through to it at the end of a rest. Pure: its caller says what time it is.
 */
export class Standing {
  inFlight = 0
  lastFailure: LastFailure | undefined
  /** When it came to be well or unwell. */
  #sinceMs: number
  #failures = 0
  #restMs = 0
  /** 0: it does not rest. */
  #until = 0
  #restsSince = 0
  #lastAsk = 0
  #probe: Ask | undefined
  /** When the last good answer came. */
  #goodMs = Number.NEGATIVE_INFINITY

  constructor(nowMs: number) {
    this.#sinceMs = nowMs
  }

  get isResting(): boolean {
    return this.#until > 0
  }

  /** When its rest is over; one that does not rest is back since ever. */
  get backAtMs(): number {
    return this.#until
  }

  /** For those who look on: it is not known to be well. */
  isUnwell(nowMs: number): boolean {
    return this.#until > 0 && (this.#probe !== undefined || nowMs < this.#until + FORGOTTEN_MS)
  }

  sinceMs(nowMs: number): number {
    return this.#until === 0 || this.isUnwell(nowMs) ? this.#sinceMs : this.#until + FORGOTTEN_MS
  }

  /** A rest is over, and nobody is there yet to say how it is now. */
  isDue(nowMs: number): boolean {
    if (this.#until === 0 || this.#until > nowMs) return false
    return this.#probe === undefined || this.#probe + PROBE_MS <= nowMs
  }

  began(nowMs: number): Ask {
    const ask = Math.max(nowMs, this.#lastAsk + APART_MS)
    this.#lastAsk = ask
    this.inFlight += 1
    if (this.isDue(nowMs)) this.#probe = ask
    return ask
  }

  answered(ask: Ask, status: number, nowMs: number): void {
    if (isFault(status)) return this.failed(ask, String(status), nowMs)
    // It was asked before the rest began, and says nothing of what came after.
    if (ask < this.#restsSince) return
    this.#goodMs = nowMs
    this.#failures = 0
    if (this.#until > 0) this.recovered(nowMs)
  }

  failed(ask: Ask, reason: string, nowMs: number): void {
    this.lastFailure = { reason, atMs: nowMs }
    if (this.#probe === ask) return this.#rest(Math.min(LONGEST_REST_MS, this.#restMs * 2), nowMs)
    // Requests that fail together are one failure, and who is asked while it rests does not lengthen the rest.
    if (this.#until > 0 || ask < this.#restsSince) return
    if (!GONE.has(reason) && this.#isWell(ask, nowMs)) return
    this.#failures += 1
    const most = FAULTS.has(Number(reason)) ? FAULTS_IN_A_ROW : FAILURES_IN_A_ROW
    if (this.#failures >= most) this.#rest(FIRST_REST_MS, nowMs)
  }

  /** A client that left says nothing of the target: another request may be the probe. */
  ended(ask: Ask): void {
    this.inFlight -= 1
    if (this.#probe === ask) this.#probe = undefined
  }

  /** It is known to be well, whatever was before. */
  recovered(nowMs: number): void {
    if (this.#until > 0) this.#sinceMs = nowMs
    this.#until = this.#restMs = this.#failures = 0
    this.#probe = undefined
  }

  /** Others have good answers meanwhile: this failure may be of the request's own making. */
  #isWell(ask: Ask, nowMs: number): boolean {
    return ask < this.#goodMs || nowMs < this.#goodMs + WELL_MS
  }

  #rest(restMs: number, nowMs: number): void {
    if (this.#until === 0) this.#sinceMs = nowMs
    this.#restMs = restMs
    this.#until = nowMs + restMs
    this.#restsSince = this.#lastAsk + APART_MS
    this.#failures = 0
    this.#probe = undefined
  }
}
