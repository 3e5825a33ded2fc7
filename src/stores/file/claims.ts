import { randomUUID } from 'node:crypto'
import { within } from '../../deadlines.ts'
import { storeUnavailable } from '../../errors.ts'
import {
  type BareKey,
  type Claim,
  type IdempotencyStore,
  KEY_MEMORY_MS,
  type KeptAnswer,
  type KeyedRequest,
  type KeyLimits,
  SMALL_ANSWER_BYTES,
  sizeOfAnswer,
} from '../contracts/idempotency.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { type AnswerFiles, openAnswerFiles } from './answer-files.ts'
import { keyHashOf } from './claims-schema.ts'
import { type HashedRequest, type Kept, prepareClaims } from './claims-table.ts'
import type { Ledger } from './ledger.ts'

/** Two clocks that nobody set drift apart by less. */
const DRIFT_MS = 60_000
/** How often keys of yesterday are looked for; while there are more than one look takes, it goes on at once. */
const SWEEP_EVERY_MS = 60_000
const SWEEP_ON_MS = 20
const SWEPT_AT_ONCE = 32

/** A commit takes a few milliseconds. */
const WRITTEN_WITHIN_MS = 1_000
const nothing = (): void => undefined

/** A key that runs, or whose end is not in the database yet. */
interface Held {
  request: HashedRequest
  name: string
  end?: 'free' | { kept: Kept | undefined }
}

interface KeyWrite {
  /** Runs in the transaction; answers with the files that are of no use any more. */
  work(): string[]
  /** Remembered until this stands in the database, so that nobody reads the state of before. */
  own?: Held
  /** Who has so many keys more by it. */
  tokenId?: string
  count?: number
  /** It stands in the database, or never will. */
  over?(): void
}

export interface ClaimsOptions {
  dbDir: string
  db: Sqlite
  ledger: Ledger
  limits: KeyLimits
}

/** The keys of this server, and those of guests that were there before it. */
export interface Claims extends IdempotencyStore {
  /** What guests of an earlier server run: nobody else begins it until they are here, or given up. */
  readonly ofGuests: readonly { id: string; guest: string }[]
  /** A guest goes on under the key that it claimed of another server. */
  keep(id: string, asked: KeyedRequest): void
  /** Nobody goes on under it: it is over when its request was charged, and free when it was not. */
  abandon(id: string): void
}

/** Idempotency keys beside the charges: claimed in memory at once, written in the order in which things happened. */
export function openClaims(options: ClaimsOptions): Claims {
  return new FileKeys(options)
}

class FileKeys implements Claims {
  readonly #ledger: Ledger
  readonly #table: ReturnType<typeof prepareClaims>
  readonly #files: AnswerFiles
  readonly #held = new Map<string, Held>()
  readonly #claims = new Map<string, Held>()
  /** How many keys each token has beyond those in the database. */
  readonly #unwritten = new Map<string, number>()

  readonly ofGuests: Claims['ofGuests']
  readonly #startedAt = Date.now() - performance.now()

  constructor({ dbDir, db, ledger, limits }: ClaimsOptions) {
    this.#ledger = ledger
    this.#table = prepareClaims(db, limits)
    this.#files = openAnswerFiles(dbDir, this.#table.files())
    this.ofGuests = this.#table.ofGuests().map(({ guest, request }) => {
      const [id, own] = [randomUUID(), { request, name: request.keyHash.toString('base64') }]
      this.#held.set(own.name, own)
      this.#claims.set(id, own)
      return { id, guest }
    })
    this.#sweepIn(SWEEP_ON_MS)
  }

  /** A clock that was set ahead makes no key older, as long as this process lives: its request would be paid twice. */
  #memoryMs(): number {
    const aheadMs = Date.now() - performance.now() - this.#startedAt
    return KEY_MEMORY_MS + (aheadMs > DRIFT_MS ? aheadMs : 0)
  }

  async claim(asked: KeyedRequest): Promise<Claim> {
    const keyHash = keyHashOf(asked.tokenId, asked.key)
    const request = { ...asked, keyHash }
    const name = keyHash.toString('base64')
    const found = this.#held.get(name)
    if (found !== undefined && found.end !== 'free') {
      if (found.end === undefined) return runningOf(found.request, request)
      return this.#answerOf({ ...found.request, kept: found.end.kept }, request)
    }
    const row = found === undefined ? this.#table.find(request) : undefined
    if (row !== undefined && row.at > request.at - this.#memoryMs()) return this.#answerOf(row, request)
    const unwritten = this.#unwritten.get(request.tokenId) ?? 0
    const waitMs = row === undefined ? this.#table.waitMs(request, unwritten) : 0
    if (waitMs > 0) return { state: 'full', retryAfterMs: waitMs }
    if (!this.#ledger.isReady()) throw storeUnavailable(NOT_NOW)
    const count = row === undefined ? 1 : 0
    this.#write({ work: () => this.#table.put(request), tokenId: request.tokenId, count })
    const [id, own] = [randomUUID(), { request, name }]
    this.#held.set(name, own)
    this.#claims.set(id, own)
    return { state: 'claimed', id }
  }

  async isKnown({ tokenId, key, at, bodyBytes }: BareKey): Promise<boolean> {
    const keyHash = keyHashOf(tokenId, key)
    const held = this.#held.get(keyHash.toString('base64'))
    if (held !== undefined) return held.end !== 'free' && bodyBytes <= held.request.bodyBytes
    const claim = this.#table.findClaim(tokenId, keyHash)
    return claim !== undefined && claim.at > at - this.#memoryMs() && bodyBytes <= claim.bodyBytes
  }

  async finish(id: string, answer: KeptAnswer | undefined): Promise<void> {
    const own = this.#take(id)
    if (own === undefined) return
    // Answers would only fill the memory while the disk takes nothing.
    const bytes = answer && this.#ledger.isReady() ? sizeOfAnswer(answer) : 0
    let kept: Kept | undefined = answer && bytes > 0 ? { ...answer, bytes } : undefined
    own.end = { kept }
    if (answer && kept && answer.body.length > SMALL_ANSWER_BYTES) {
      const file = await this.#files.write(answer.body)
      kept = file && { ...kept, body: file }
      own.end = { kept }
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#write({ work: () => this.#table.finish(own.request, kept), own, over: resolve })
    // A disk that takes nothing holds up nobody whose answer is made.
    await within(WRITTEN_WITHIN_MS, promise)
  }

  async free(id: string): Promise<void> {
    const own = this.#take(id)
    if (own === undefined) return
    own.end = 'free'
    const work = (): string[] => this.#table.remove(own.request)
    this.#write({ work, own, tokenId: own.request.tokenId, count: -1 })
  }

  keep(id: string, asked: KeyedRequest): void {
    if (this.#claims.has(id)) return
    const keyHash = keyHashOf(asked.tokenId, asked.key)
    const own = { request: { ...asked, keyHash }, name: keyHash.toString('base64') }
    this.#claims.set(id, own)
    const held = this.#held.get(own.name)
    const isItsOwn = held?.request.requestId === asked.requestId && held.end === undefined
    // Who came first after the change of servers has it now.
    if (held === undefined || isItsOwn) this.#held.set(own.name, own)
    this.#write({ work: () => this.#table.putBack(own.request) })
  }

  abandon(id: string): void {
    const own = this.#claims.get(id)
    if (own === undefined) return
    // It throws where nothing can be written just now: then the key runs on, and is given up again.
    this.#write({ work: () => this.#table.endLeft(own.request), own })
    this.#claims.delete(id)
  }

  #take(id: string): Held | undefined {
    const own = this.#claims.get(id)
    this.#claims.delete(id)
    return own
  }

  #write({ work, own, tokenId = '', count = 0, over = nothing }: KeyWrite): void {
    let files: string[] = []
    const isTaken = this.#ledger.add({
      apply: () => {
        files = work()
      },
      done: () => {
        if (own && this.#held.get(own.name) === own) this.#held.delete(own.name)
        this.#countUnwritten(tokenId, -count)
        this.#files.remove(files)
        over()
      },
      drop: over,
    })
    if (!isTaken) throw storeUnavailable(NOT_NOW)
    this.#countUnwritten(tokenId, count)
  }

  #countUnwritten(tokenId: string, change: number): void {
    const count = (this.#unwritten.get(tokenId) ?? 0) + change
    if (count === 0) this.#unwritten.delete(tokenId)
    else this.#unwritten.set(tokenId, count)
  }

  async #answerOf(
    { requestId, fingerprint, kept }: { requestId: string; fingerprint: string; kept: Kept | undefined },
    request: KeyedRequest,
  ): Promise<Claim> {
    if (fingerprint !== request.fingerprint) return { state: 'mismatch' }
    if (kept === undefined) return { state: 'answered', requestId, answer: undefined }
    const { status, headers } = kept
    const body = 'name' in kept.body ? await this.#files.read(kept.body) : kept.body
    return { state: 'answered', requestId, answer: body && { status, headers, body } }
  }

  /** Sweeps some rows at a time: thousands in one transaction would hold everybody up. */
  #sweepIn(ms: number): void {
    setTimeout(() => {
      let count = 0
      const sweep = (): string[] => {
        const swept = this.#table.sweep(Date.now() - this.#memoryMs(), SWEPT_AT_ONCE)
        count = swept.count
        return swept.files
      }
      try {
        this.#write({ work: sweep })
      } catch {
        if (this.#ledger.isClosed) return
      }
      setImmediate(() => this.#sweepIn(count === SWEPT_AT_ONCE ? SWEEP_ON_MS : SWEEP_EVERY_MS)).unref()
    }, ms).unref()
  }
}

const NOT_NOW = 'The idempotency key cannot be written just now: try again'

function runningOf({ requestId, fingerprint }: KeyedRequest, request: KeyedRequest): Claim {
  return fingerprint === request.fingerprint ? { state: 'running', requestId } : { state: 'mismatch' }
}
