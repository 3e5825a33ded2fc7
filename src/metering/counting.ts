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
export function tryCount(key: string, what: Countable): Promise<number | undefined> {
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
