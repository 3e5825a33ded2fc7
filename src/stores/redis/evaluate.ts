import type { Client } from './client.ts'
import type { Script } from './scripts.ts'

export type Args = readonly (string | number)[]

/** A deadline that is noticed so late tells of a stall; then Redis gets a little more. */
const STALL_MS = 50
const AFTER_STALL_MS = 100

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
export async function evaluate(client: Client, { sha, text }: Script, keys: readonly string[], args: Args) {
  try {
    return await client.evalsha(sha, keys.length, ...keys, ...args)
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return client.eval(text, keys.length, ...keys, ...args)
  }
}
