import { codeOf, storeUnavailable } from '../../errors.ts'
import type { Warn } from '../contracts/store-error.ts'
import type { UsageEntry, UsageLog } from '../contracts/usage-log.ts'
import type { RowSink } from '../noted-rows.ts'
import type { Context } from './context.ts'

const LOCK_MS = 15_000
const MOST_AT_ONCE = 200
const PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000

export interface CarrierOptions {
  context: Context
  /** The sink is opened with the first row; one that failed is closed and opened anew. */
  openSink(isCarrier: () => boolean): Promise<UsageLog>
  warn: Warn
}

/** Carries usage rows from Redis into the database: one replica at a time, each row at least once. */
export class UsageCarrier {
  readonly #options: CarrierOptions
  #sink: UsageLog | undefined
  #timer: NodeJS.Timeout | undefined
  #working: Promise<void> = Promise.resolve()
  #failures = 0
  #isClosed = false
  /** Since when, by the clock of `performance.now`, nobody else carries for a while. */
  #fencedAt = Number.NEGATIVE_INFINITY

  constructor(options: CarrierOptions) {
    this.#options = options
    this.#schedule()
  }

  /** Carries what is there, as far as Redis and the database let it. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#working
    await this.#work()
    await this.#sink?.close().catch(() => undefined)
  }

  #schedule(): void {
    if (this.#isClosed) return
    const pauseMs = Math.min(LONGEST_PAUSE_MS, PAUSE_MS * 2 ** Math.min(this.#failures, 6))
    this.#timer = setTimeout(() => {
      this.#working = this.#work().then(() => this.#schedule())
    }, pauseMs)
  }

  async #work(): Promise<void> {
    const { context, warn } = this.#options
    if (!context.link.isReady()) return
    try {
      while (await this.#carry());
      if (this.#failures > 0) warn({}, 'usage rows are written again')
      this.#failures = 0
    } catch (error) {
      if (!context.link.isReady()) return
      this.#failures += 1
      if (this.#failures === 1)
        warn({ code: codeOf(error) }, 'usage rows wait in Redis: the database does not take them')
      await this.#sink?.close().catch(() => undefined)
      this.#sink = undefined
    }
  }

  /** Carries some rows, and says whether there may be more. */
  async #carry(): Promise<boolean> {
    const { link, scripts, keys, owner } = this.#options.context
    const fence = await link.run(scripts.carry, [keys.carrierLock, keys.carrierNumber], [owner, LOCK_MS])
    if (fence === 0) return false
    this.#fencedAt = performance.now()
    const streams = [keys.usage, keys.serviceUsage]
    const found = await Promise.all(
      streams.map((key) => link.read((client) => client.xrange(key, '-', '+', 'COUNT', MOST_AT_ONCE))),
    )
    const all = found.flat()
    if (all.length > 0) {
      this.#sink ??= await this.#options.openSink(() => performance.now() - this.#fencedAt < LOCK_MS / 2)
      await this.#sink.write(all.map(([, fields]) => readEntry(fields)))
    }
    const mine = `${fence} ${owner}`
    for (const [index, stream] of streams.entries()) {
      const ids = (found[index] ?? []).map(([id]) => id)
      if (ids.length > 0) await link.run(scripts.carried, [keys.carrierLock, stream], [mine, ...ids])
    }
    if (this.#isClosed && all.length === 0) await link.run(scripts.release, [keys.carrierLock], [mine])
    return found.some(({ length }) => length === MOST_AT_ONCE) || (this.#isClosed && all.length > 0)
  }
}

function readEntry(fields: readonly string[]): UsageEntry {
  const named = new Map<string, string>()
  for (let index = 0; index < fields.length; index += 2)
    named.set(fields[index] ?? '', fields[index + 1] ?? '')
  const row: UsageEntry['row'] = JSON.parse(named.get('row') ?? '{}')
  return { key: named.get('key') ?? '', chargedMicros: Number(named.get('charged')), row }
}

/**
 * Rows of services, beside those of paid requests on their way to the database: however many there are, none that was
 * paid for is dropped for them.
 */
export function openServiceRows({ link, scripts, keys, owner, mostRows }: Context): RowSink {
  return {
    write: async (rows, first) => {
      const named = rows.flatMap((row, index) => [`${owner}~${first + index}`, JSON.stringify(row)])
      const answer = await link.run(scripts.note, [keys.serviceUsage], [mostRows, ...named])
      if (answer !== 1) throw storeUnavailable('Too many usage rows wait for their database')
    },
  }
}
