import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { within } from '../../deadlines.ts'
import { storeUnavailable } from '../../errors.ts'
import type { GuestCalls } from '../contracts/guests.ts'
import { StoreError, type Warn } from '../contracts/store-error.ts'
import { readError } from '../wire.ts'
import { type Link, openLink } from './link.ts'
import { OwnThings } from './own-things.ts'

export type Method = keyof GuestCalls
export type Answer<M extends Method> = Awaited<ReturnType<GuestCalls[M]>>

/** What the folder is for whoever has it: the store itself, and the same calls as a guest's. */
export interface Owned {
  calls: GuestCalls
  close(): Promise<void>
}

export interface AskingOptions<O extends Owned> {
  dbDir: string
  /** Takes the folder; throws a `StoreError` with the reason `locked` while another server has it. */
  openOwn(guest: { name: string; things: OwnThings }): Promise<O>
  /** After so long without anybody. */
  onOwned(own: O, aloneMs: number): void
  warn: Warn
}

interface Asked {
  id: number
  method: Method
  args: readonly unknown[]
  /** Nobody waits for it any more. */
  isLate: boolean
  resolve(answer: unknown): void
  reject(cause: unknown): void
}

/** A client is refused after so long without an answer. */
const DEADLINE_MS = 5_000
/** How long between two looks for who has the folder. */
const LOOK_AGAIN_MS = 10
/** What keeps a server out other than another server takes longer to go. */
const MENDED_AFTER_MS = 500
const WARN_AFTER_MS = 5_000

/**
 * Asks the server that has the folder, or this one once it has it: what was not answered by the one is asked of the
 * next, in the same order, after it was told what this server has.
 */
export class Asking<O extends Owned> {
  readonly things = new OwnThings()
  readonly #name = randomUUID()
  readonly #options: AskingOptions<O>
  readonly #asked = new Map<number, Asked>()
  #link: Link | undefined
  #own: O | undefined
  #lastId = 0
  #isClosed = false
  #lostAt: number | undefined

  constructor(options: AskingOptions<O>) {
    this.#options = options
  }

  /** The store itself, once this server has the folder. */
  get own(): O | undefined {
    return this.#own
  }

  /** For how long nobody has had the folder. */
  get aloneMs(): number {
    return this.#lostAt === undefined ? 0 : performance.now() - this.#lostAt
  }

  get unsentBytes(): number {
    return this.#link?.unsentBytes() ?? 0
  }

  /** Refuses after a while, and hands `giveBack` what comes all the same; without it there is no end to the wait. */
  ask<M extends Method>(
    method: M,
    args: Parameters<GuestCalls[M]>,
    giveBack?: (answer: Answer<M>) => void,
  ): Promise<Answer<M>> {
    if (this.#isClosed) return Promise.reject(storeUnavailable('The store is closed'))
    return new Promise<Answer<M>>((resolve, reject) => {
      const id = ++this.#lastId
      const asked: Asked = {
        id,
        method,
        args,
        isLate: false,
        resolve: (answer) => resolve(answer as Answer<M>),
        reject,
      }
      this.#asked.set(id, asked)
      if (giveBack) limit(asked, (answer) => giveBack(answer as Answer<M>))
      if (this.#own) this.#run(this.#own, asked)
      else if (this.#link) this.#send(this.#link, asked, method)
    })
  }

  /** Follows the server that has the folder until this one has it. */
  async connect(): Promise<void> {
    const { dbDir } = this.#options
    const link = await openLink({
      dbDir,
      guest: this.#name,
      onLine: (line) => this.#hear(line),
      onLost: () => void this.#lost(),
    })
    if (this.#isClosed) return link.end()
    this.#link = link
    this.#lostAt = undefined
    // Its answer is nobody's.
    link.send([0, 'adopt', [this.things.all()]])
    for (const asked of this.#asked.values()) this.#askAgain(link, asked)
  }

  async close(): Promise<void> {
    const until = performance.now() + DEADLINE_MS
    const isBusy = () => [...this.#asked.values()].some(({ isLate }) => !isLate)
    while (isBusy() && performance.now() < until) await sleep(LOOK_AGAIN_MS)
    // Whatever this server still has it gives up.
    if (this.#link)
      await within(
        DEADLINE_MS,
        this.ask('adopt', [new OwnThings().all()]).catch(() => undefined),
      )
    this.#isClosed = true
    this.#link?.end()
    for (const { reject } of this.#asked.values()) reject(storeUnavailable('The store closed before'))
    this.#asked.clear()
    await this.#own?.close()
  }

  #askAgain(link: Link, asked: Asked): void {
    if (asked.isLate) this.#asked.delete(asked.id)
    else this.#send(link, asked, again(asked.method))
  }

  /** A server of before cannot be asked for everything. */
  #send(link: Link, { id, args, reject }: Asked, method: Method): void {
    if (link.knows(method)) return link.send([id, method, args])
    this.#asked.delete(id)
    reject(storeUnavailable('The server that has the files is of an earlier release'))
  }

  #hear([id, result, error]: unknown[]): void {
    const asked = this.#asked.get(Number(id))
    if (asked === undefined) return
    this.#asked.delete(asked.id)
    if (error !== undefined) return asked.reject(readError(error))
    asked.resolve(result ?? undefined)
  }

  /** Whoever is first has the folder, the others are its guests. */
  async #lost(): Promise<void> {
    this.#link = undefined
    this.#lostAt = performance.now()
    let warnedAt = this.#lostAt
    while (!this.#isClosed) {
      const trouble = await this.#takeOver()
      const isFound = trouble !== undefined && (await this.connect().then(isTrue, isFalse))
      if (trouble === undefined || isFound) return
      if (performance.now() - warnedAt > WARN_AFTER_MS) {
        warnedAt = performance.now()
        this.#options.warn({ err: trouble }, 'DB_DIR cannot be taken over, and nobody else serves it')
      }
      // A folder that cannot be opened is read whole each time.
      const isLocked = trouble instanceof StoreError && trouble.reason === 'locked'
      await sleep(isLocked ? LOOK_AGAIN_MS : MENDED_AFTER_MS)
    }
  }

  async #takeOver(): Promise<unknown> {
    const { openOwn, onOwned } = this.#options
    try {
      const own = await openOwn({ name: this.#name, things: this.things })
      this.#own = own
      for (const asked of this.#asked.values()) this.#run(own, asked)
      onOwned(own, this.aloneMs)
      this.#lostAt = undefined
      return undefined
    } catch (error) {
      return error
    }
  }

  #run({ calls }: O, asked: Asked): void {
    this.#asked.delete(asked.id)
    if (asked.isLate) return
    const answered: Promise<unknown> = Reflect.apply(calls[again(asked.method)], calls, asked.args)
    answered.then(asked.resolve, asked.reject)
  }
}

function isTrue(): boolean {
  return true
}
function isFalse(): boolean {
  return false
}

/** Who waits is refused in time; the question stands, and its answer goes to `giveBack`. */
function limit(asked: Asked, giveBack: (answer: unknown) => void): void {
  const { resolve, reject } = asked
  const timer = setTimeout(() => {
    asked.isLate = true
    asked.resolve = giveBack
    asked.reject = () => undefined
    reject(storeUnavailable('The server that has the files does not answer: try again'))
  }, DEADLINE_MS)
  asked.resolve = (answer) => {
    clearTimeout(timer)
    resolve(answer)
  }
  asked.reject = (cause) => {
    clearTimeout(timer)
    reject(cause)
  }
}

/** What is not the same when it is done twice. */
const AGAIN: { readonly [M in Method]?: Method } = { mint: 'mintAgain', noteRows: 'noteRowsAgain' }

function again(method: Method): Method {
  return AGAIN[method] ?? method
}
