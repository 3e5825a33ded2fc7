import { within } from '../deadlines.ts'
import type { Warn } from './contracts/store-error.ts'
import type { ServiceRow } from './contracts/usage-columns.ts'
import type { UsageRows } from './contracts/usage-rows.ts'

/** Where gathered rows go. */
export interface RowSink {
  /**
   * Puts all of them on record, or throws. Rows that were perhaps written come again, with the same number: how many
   * this process has had before the first of them.
   */
  write(rows: readonly ServiceRow[], first: number): Promise<void>
}

interface Options {
  sink: RowSink
  warn: Warn
  /** So many wait at most, besides those that are being written. */
  most?: number
}

/** A second of a busy gateway ten times over, about 15 MB. */
const MOST_ROWS = 50_000
const DROPPED_AT_ONCE = 1_000
/** A batch holds the event loop for a millisecond or two. */
const BATCH_ROWS = 256
const GATHER_MS = 500
const AGAIN_MS = 1_000
const LAST_WRITES_MS = 2_000
const WARN_EVERY_MS = 60_000

/** Gathers rows of services and writes them in batches, one at a time. */
export class NotedRows implements UsageRows {
  readonly #options: Required<Options>
  #rows: ServiceRow[] = []
  /** What is being written, or comes again. */
  #batch: { rows: readonly ServiceRow[]; first: number } | undefined
  #state: 'idle' | 'writing' | 'resting' | 'closed' = 'idle'
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()
  #taken = 0
  #dropped = 0
  #warnedAt = Number.NEGATIVE_INFINITY

  constructor({ most = MOST_ROWS, ...options }: Options) {
    this.#options = { most, ...options }
  }

  note(row: ServiceRow): void {
    if (this.#state === 'closed') return void this.#dropped++
    this.#rows.push(row)
    if (this.#rows.length > this.#options.most) this.#drop()
    if (this.#state !== 'idle') return
    if (this.#rows.length >= BATCH_ROWS) this.#write()
    else this.#timer ??= setTimeout(() => this.#write(), GATHER_MS).unref()
  }

  counts(): { waiting: number; dropped: number } {
    return { waiting: this.#rows.length + (this.#batch?.rows.length ?? 0), dropped: this.#dropped }
  }

  /** Writes what is here, as far as the store takes it soon; later rows are dropped. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    clearTimeout(this.#timer)
    await within(LAST_WRITES_MS, this.#writeRest()).catch(() => undefined)
    const { waiting } = this.counts()
    this.#rows = []
    this.#batch = undefined
    if (waiting > 0) this.#tellDropped(waiting)
  }

  async #writeRest(): Promise<void> {
    await this.#writing
    for (let batch = this.#take(); batch !== undefined; batch = this.#take()) {
      await this.#options.sink.write(batch.rows, batch.first)
      this.#batch = undefined
    }
  }

  #write(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const batch = this.#take()
    if (batch === undefined) return
    this.#state = 'writing'
    this.#writing = this.#options.sink.write(batch.rows, batch.first).then(
      () => {
        this.#batch = undefined
        this.#goOn('idle', this.#rows.length >= BATCH_ROWS ? 0 : GATHER_MS)
      },
      () => this.#goOn('resting', AGAIN_MS),
    )
  }

  #goOn(state: 'idle' | 'resting', pauseMs: number): void {
    if (this.#state === 'closed') return
    this.#state = state
    if (pauseMs === 0) return this.#write()
    if (this.#batch !== undefined || this.#rows.length > 0)
      this.#timer = setTimeout(() => this.#write(), pauseMs).unref()
  }

  #take() {
    if (this.#batch === undefined && this.#rows.length > 0) {
      this.#batch = { rows: this.#rows.splice(0, BATCH_ROWS), first: this.#taken }
      this.#taken += this.#batch.rows.length
    }
    return this.#batch
  }

  #drop(): void {
    this.#tellDropped(this.#rows.splice(0, Math.min(DROPPED_AT_ONCE, this.#options.most)).length)
  }

  #tellDropped(count: number): void {
    this.#dropped += count
    const now = performance.now()
    if (now - this.#warnedAt < WARN_EVERY_MS) return
    this.#warnedAt = now
    this.#options.warn(
      { dropped: this.#dropped },
      'usage rows of services were dropped: the store takes none',
    )
  }
}
