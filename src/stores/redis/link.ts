import { ReplyError } from 'ioredis'
import { storeUnavailable } from '../../errors.ts'
import type { Warn } from '../contracts/store-error.ts'
import { Outage } from '../outage.ts'
import type { Client } from './client.ts'
import { type Args, evaluate, within } from './evaluate.ts'
import { NextClient } from './next-client.ts'
import { describeRefusal, isRefused, lacksRight } from './refusals.ts'
import type { Script } from './scripts.ts'

const PROBE_PAUSE_MS = 100
/** A client that was replaced ends so long after the last command on it may have been given up. */
const LEAVES_AFTER_MS = 500
/** After so many silent probes in a row the connection itself is taken for dead, as after a partition. */
const SILENT_PROBES = 3
const SILENT_HANDSHAKE = 15
const LIVELY: readonly string[] = ['ready', 'connect']

/** One connection to Redis that answers in time or says so. */
export interface Link {
  /** Runs a script; throws `store_unavailable` when there is no answer in time: it may have run all the same. */
  run(script: Script, keys: readonly string[], args: Args): Promise<unknown>
  /** The same for a plain command that only reads. */
  read<T>(ask: (client: Client) => Promise<T>): Promise<T>
  isReady(): boolean
  /** The first probe. */
  start(): Promise<void>
  close(): void
}

export interface LinkOptions {
  client: Client
  /** No caller waits longer for an answer. */
  deadlineMs: number
  /** Proves that Redis takes writes and is the right one; throws when it is not. */
  probe(ask: Link['run'], client: Client): Promise<void>
  /** Before a client of another address is probed: throws when what it reaches must not be used, and writes nothing there. */
  inspect?(client: Client): Promise<void>
  /** Redis answers again after it did not. */
  onBack(): void
  warn?: Warn
  /** Redis refused our user or password: there may be others by now. */
  onRefused?(): void
}

/** A script's own mistake is no outage; Redis that refuses (READONLY, NOREPLICAS, LOADING ...) is one. */
function isMistake(error: unknown): boolean {
  if (!(error instanceof Error && error instanceof ReplyError)) return false
  return /^(WRONGTYPE|ERR)/.test(error.message) && !lacksRight(error)
}

/** It has no memory left for this one; for what bills need it has (`evenWhenFull` in the scripts). */
function isFull(error: unknown): boolean {
  return error instanceof Error && error instanceof ReplyError && /^OOM/.test(error.message)
}

const FULL = 'The store of the balances is full: try again later, or have the operator give Redis more memory'
const DOWN = 'The balances cannot be reached just now: try again in a moment'

const AWAY = {
  away: 'Redis cannot be used: requests are refused until it can',
  back: 'Redis answers again',
}
const NEXT = {
  away: 'Redis cannot be used as REDIS_URL says now: the connection from before stays',
  back: 'Redis can be used as REDIS_URL says now',
}

/** A connection to Redis on which everybody is refused at once, from the first missed answer until a probe succeeds. */
export class RedisLink implements Link {
  readonly #options: LinkOptions
  readonly #outage: Outage
  readonly #onRefused: () => void
  #client: Client
  #next: NextClient | undefined
  #isUp = false
  #isClosed = false
  #silent = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: LinkOptions) {
    const { client, warn = () => undefined, onRefused = () => undefined } = options
    this.#options = options
    this.#onRefused = onRefused
    this.#outage = new Outage(warn, AWAY)
    this.#client = client
    this.#listen(client)
  }

  run(script: Script, keys: readonly string[], args: Args): Promise<unknown> {
    return this.#guarded(() => this.#attempt(script, keys, args))
  }

  read<T>(ask: (client: Client) => Promise<T>): Promise<T> {
    return this.#guarded(() => this.#within(ask(this.#client)))
  }

  isReady(): boolean {
    return this.#isUp
  }

  async start(): Promise<void> {
    this.#timer = undefined
    const client = this.#client
    try {
      await this.#options.probe((script, keys, args) => this.#attempt(script, keys, args), client)
    } catch (error) {
      if (client === this.#client) this.#stillDown(error)
      return
    }
    if (client === this.#client) this.#up()
  }

  /** This client takes the place of the one in use as soon as it has proven itself; commands on their way end where they began. */
  use(client: Client): void {
    this.#next?.close()
    if (this.#isClosed) return
    const { probe, inspect = async () => undefined, deadlineMs, warn = () => undefined } = this.#options
    this.#next = new NextClient(client, {
      probe: async () => {
        await within(inspect(client), deadlineMs)
        await probe((script, keys, args) => within(evaluate(client, script, keys, args), deadlineMs), client)
      },
      proven: () => this.#swap(client),
      failed: (error) => this.#refused(error),
      outage: new Outage(warn, NEXT),
    })
  }

  close(): void {
    this.#isClosed = true
    this.#isUp = false
    clearTimeout(this.#timer)
    this.#next?.close()
    this.#client.disconnect()
  }

  #listen(client: Client): void {
    const down = () => client === this.#client && this.#down()
    client.on('close', down)
    client.on('end', down)
    // Every command that fails says so itself; this says why the connection is away.
    client.on('error', (error) => client === this.#client && this.#tell(error))
  }

  #swap(client: Client): void {
    const [old, { deadlineMs }] = [this.#client, this.#options]
    this.#client = client
    this.#next = undefined
    this.#listen(client)
    setTimeout(() => old.disconnect(), deadlineMs + LEAVES_AFTER_MS).unref()
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#options.warn?.({}, 'Redis is used as REDIS_URL says now')
    this.#up()
  }

  #up(): void {
    if (this.#isClosed) return
    this.#silent = 0
    this.#isUp = true
    this.#outage.back()
    this.#options.onBack()
  }

  #attempt(script: Script, keys: readonly string[], args: Args): Promise<unknown> {
    return this.#within(evaluate(this.#client, script, keys, args))
  }

  #within<T>(work: Promise<T>): Promise<T> {
    return within(work, this.#options.deadlineMs)
  }

  async #guarded<T>(ask: () => Promise<T>): Promise<T> {
    if (!this.#isUp) throw storeUnavailable(DOWN)
    const client = this.#client
    try {
      return await ask()
    } catch (cause) {
      if (isMistake(cause)) throw cause
      if (isFull(cause)) throw storeUnavailable(FULL, { cause })
      this.#tell(cause)
      if (client === this.#client) this.#down()
      throw storeUnavailable(DOWN, { cause })
    }
  }

  #tell(error: unknown): void {
    if (this.#isClosed) return
    const reason = describeRefusal(error)
    if (reason) this.#outage.away(reason)
    this.#refused(error)
  }

  #refused(error: unknown): void {
    if (isRefused(error)) this.#onRefused()
  }

  #down(): void {
    this.#isUp = false
    if (!this.#isClosed) this.#timer ??= setTimeout(() => this.start(), PROBE_PAUSE_MS)
  }

  #stillDown(error: unknown): void {
    this.#tell(error)
    this.#silent += 1
    const client = this.#client
    const patience = client.status === 'ready' ? SILENT_PROBES : SILENT_HANDSHAKE
    const isStuck = this.#silent % patience === 0 && LIVELY.includes(client.status)
    if (isStuck && !this.#isClosed) client.disconnect(true)
    // ioredis gives up for good when it hears of a failover while it asks a sentinel for the primary.
    if (client.status === 'end' && !this.#isClosed) client.connect().catch(() => undefined)
    this.#down()
  }
}

const MOST_KEPT = 10_000

/** Small things that Redis could not be told, such as a place that is free again: told once it answers. */
export class Retries {
  #kept: (() => Promise<unknown>)[] = []

  /** Does it now, or later; never throws. What does not fit any more dies with its owner. */
  do(work: () => Promise<unknown>): Promise<void> {
    return work().then(
      () => undefined,
      () => {
        if (this.#kept.length < MOST_KEPT) this.#kept.push(work)
      },
    )
  }

  catchUp(): void {
    const kept = this.#kept
    this.#kept = []
    for (const work of kept) void this.do(work)
  }
}
