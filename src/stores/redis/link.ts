import { ReplyError } from 'ioredis'
import { storeUnavailable } from '../../errors.ts'
import type { Client } from './client.ts'
import type { Script } from './scripts.ts'

const PROBE_PAUSE_MS = 100
/** A deadline that is noticed so late tells of a stall; then Redis gets a little more. */
const STALL_MS = 50
const AFTER_STALL_MS = 100
/** After so many silent probes in a row the connection itself is taken for dead, as after a partition. */
const SILENT_PROBES = 3
const SILENT_HANDSHAKE = 15
const LIVELY: readonly string[] = ['ready', 'connect']

type Args = readonly (string | number)[]

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
  probe(ask: Link['run']): Promise<void>
  /** Redis answers again after it did not. */
  onBack(): void
}

/** A script's own mistake is no outage; Redis that refuses (READONLY, NOREPLICAS, LOADING ...) is one. */
function isMistake(error: unknown): boolean {
  return error instanceof Error && error instanceof ReplyError && /^(WRONGTYPE|ERR)/.test(error.message)
}

/** It has no memory left for this one; for what bills need it has (`evenWhenFull` in the scripts). */
function isFull(error: unknown): boolean {
  return error instanceof Error && error instanceof ReplyError && /^OOM/.test(error.message)
}

const FULL = 'The store of the balances is full: try again later, or have the operator give Redis more memory'
const DOWN = 'The balances cannot be reached just now: try again in a moment'

/** A connection to Redis on which everybody is refused at once, from the first missed answer until a probe succeeds. */
export class RedisLink implements Link {
  readonly #options: LinkOptions
  #isUp = false
  #isClosed = false
  #silent = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: LinkOptions) {
    this.#options = options
    const { client } = options
    client.on('close', () => this.#down())
    client.on('end', () => this.#down())
    // Every command that fails says so itself; without a listener ioredis would write to the console.
    client.on('error', () => undefined)
  }

  run(script: Script, keys: readonly string[], args: Args): Promise<unknown> {
    return this.#guarded(() => this.#attempt(script, keys, args))
  }

  read<T>(ask: (client: Client) => Promise<T>): Promise<T> {
    return this.#guarded(() => this.#within(ask(this.#options.client)))
  }

  isReady(): boolean {
    return this.#isUp
  }

  async start(): Promise<void> {
    this.#timer = undefined
    const { probe, onBack } = this.#options
    try {
      await probe((script, keys, args) => this.#attempt(script, keys, args))
    } catch {
      this.#stillDown()
      return
    }
    if (this.#isClosed) return
    this.#silent = 0
    this.#isUp = true
    onBack()
  }

  close(): void {
    this.#isClosed = true
    this.#isUp = false
    clearTimeout(this.#timer)
    this.#options.client.disconnect()
  }

  #attempt(script: Script, keys: readonly string[], args: Args): Promise<unknown> {
    return this.#within(evaluate(this.#options.client, script, keys, args))
  }

  #within<T>(work: Promise<T>): Promise<T> {
    return within(work, this.#options.deadlineMs)
  }

  async #guarded<T>(ask: () => Promise<T>): Promise<T> {
    if (!this.#isUp) throw storeUnavailable(DOWN)
    try {
      return await ask()
    } catch (cause) {
      if (isMistake(cause)) throw cause
      if (isFull(cause)) throw storeUnavailable(FULL, { cause })
      this.#down()
      throw storeUnavailable(DOWN, { cause })
    }
  }

  #down(): void {
    this.#isUp = false
    if (!this.#isClosed) this.#timer ??= setTimeout(() => this.start(), PROBE_PAUSE_MS)
  }

  #stillDown(): void {
    this.#silent += 1
    const { client } = this.#options
    const patience = client.status === 'ready' ? SILENT_PROBES : SILENT_HANDSHAKE
    const isStuck = this.#silent % patience === 0 && LIVELY.includes(client.status)
    if (isStuck && !this.#isClosed) client.disconnect(true)
    // ioredis gives up for good when it hears of a failover while it asks a sentinel for the primary.
    if (client.status === 'end' && !this.#isClosed) client.connect().catch(() => undefined)
    this.#down()
  }
}

/** The same work, or an error when it takes longer than anybody may wait. */
export async function within<T>(work: Promise<T>, deadlineMs: number): Promise<T> {
  const started = performance.now()
  let timer: NodeJS.Timeout | undefined
  const tooLate = new Promise<never>((_resolve, reject) => {
    const late = () => reject(new Error(`Redis gave no answer in ${deadlineMs} ms`))
    const atDeadline = () => {
      // The answer is here already where it was this process that had no time: it is read before the second turn.
      if (performance.now() - started < deadlineMs + STALL_MS) return setImmediate(() => setImmediate(late))
      // Redis had no time either where the whole machine had none.
      timer = setTimeout(late, AFTER_STALL_MS)
    }
    timer = setTimeout(atDeadline, deadlineMs)
  })
  try {
    return await Promise.race([work, tooLate])
  } finally {
    clearTimeout(timer)
  }
}

/** Calls a script by its hash; the first time, and after every restart of Redis, by its text. */
async function evaluate(client: Client, { sha, text }: Script, keys: readonly string[], args: Args) {
  try {
    return await client.evalsha(sha, keys.length, ...keys, ...args)
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return client.eval(text, keys.length, ...keys, ...args)
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
