import { Worker } from 'node:worker_threads'
import type { DialectName } from '../config/endpoints.ts'

/** What is counted: a text, or the JSON of a request or an answer. */
export type Countable =
  | { of: 'text'; text: string }
  | { of: 'request'; body: Uint8Array }
  /** The most that a request can be, where others count a text for up to `margin` times as much as we do. */
  | { of: 'bound'; body: Uint8Array; margin: number }
  | { of: 'answer'; dialect: DialectName; body: Uint8Array }

export interface CountRequest {
  id: number
  key: string
  what: Countable
}

/** Undefined: it could not be counted. */
export interface Counted {
  id: number
  tokens: number | undefined
}

/** A common average of text, for what a broken thread leaves uncounted. */
const BYTES_PER_TOKEN = 4

/** The thread, from the first need on: its table takes 300 ms and 100 MB, and most providers count for themselves. */
interface Thread {
  worker: Worker
  waiting: Map<number, (tokens: number | undefined) => void>
}

/** A request up to here is counted in moments. */
const SMALL_BYTES = 256 * 1024
/** Each request on the thread is a copy of its body, and its text once more: so many bytes of them at once. */
const MOST_BYTES = 16 * 1024 * 1024

/** Large requests before the thread: whoever has the fewest bytes there is next. */
class Line {
  #bytes = 0
  readonly #bytesOf = new Map<string, number>()
  readonly #waiting: { key: string; bytes: number; go(leave: () => void): void }[] = []

  /** Resolves when it may be counted, with what is to be called after that. */
  enter(key: string, bytes: number): Promise<() => void> {
    return new Promise((resolve) => {
      this.#waiting.push({ key, bytes, go: resolve })
      this.#admit()
    })
  }

  #admit(): void {
    const [next, ...others] = this.#waiting
    if (!next) return
    const first = others.reduce((one, other) => (this.#of(other.key) < this.#of(one.key) ? other : one), next)
    const { key, bytes, go } = first
    if (this.#bytes > 0 && this.#bytes + bytes > MOST_BYTES) return
    this.#waiting.splice(this.#waiting.indexOf(first), 1)
    this.#add(key, bytes)
    go(() => {
      this.#add(key, -bytes)
      this.#admit()
    })
    this.#admit()
  }

  #of(key: string): number {
    return this.#bytesOf.get(key) ?? 0
  }

  #add(key: string, bytes: number): void {
    this.#bytes += bytes
    const all = this.#of(key) + bytes
    if (all === 0) this.#bytesOf.delete(key)
    else this.#bytesOf.set(key, all)
  }
}

/** As the thread, one for the process. */
const line = new Line()

/** One for the process, as the tokenizer's table is: it keeps nothing of what it counts. */
let thread: Thread | undefined
let lastId = 0

/**
 * LLM tokens, counted on a thread of its own: hostile text takes the tokenizer a second, and nobody waits for that but
 * who sent it. Keys (tokens) take their turns there one after the other.
 */
export async function count(key: string, what: Countable): Promise<number> {
  const tokens = await tryCount(key, what)
  return tokens ?? Math.ceil((what.of === 'text' ? what.text.length : what.body.length) / BYTES_PER_TOKEN)
}

/** The same, and undefined where nobody could count it. */
export async function tryCount(key: string, what: Countable): Promise<number | undefined> {
  if (what.of !== 'bound' || what.body.length <= SMALL_BYTES) return ask(key, what)
  const leave = await line.enter(key, what.body.length)
  return ask(key, what).finally(leave)
}

function ask(key: string, what: Countable): Promise<number | undefined> {
  const { worker, waiting } = openThread()
  return new Promise((resolve) => {
    lastId += 1
    waiting.set(lastId, resolve)
    worker.ref()
    const request: CountRequest = { id: lastId, key, what }
    worker.postMessage(request)
  })
}

function openThread(): Thread {
  if (thread) return thread
  const worker = new Worker(new URL('./counting-thread.ts', import.meta.url))
  const opened: Thread = { worker, waiting: new Map() }
  thread = opened
  worker.on('message', ({ id, tokens }: Counted) => {
    opened.waiting.get(id)?.(tokens)
    opened.waiting.delete(id)
    // The process may end when nothing waits.
    if (opened.waiting.size === 0) worker.unref()
  })
  const close = (): void => {
    if (thread === opened) thread = undefined
    for (const tell of opened.waiting.values()) tell(undefined)
    opened.waiting.clear()
  }
  worker.on('error', close).on('exit', close)
  return opened
}
