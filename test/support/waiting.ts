/** What the support code needs of a tap test. */
export interface Owner {
  teardown(close: () => unknown): unknown
}

/** Conditions that callers wait for; `check` is called after every event that may have changed one. */
export interface Waiting {
  until<T>(what: string, find: () => T | undefined, timeoutMs?: number): Promise<T>
  check(): void
}

interface Waiter {
  settle(): boolean
}

/** Waits for events, never for time: a condition is looked at again only when something has happened. */
export function createWaiting(): Waiting {
  const waiters = new Set<Waiter>()
  const until = <T>(what: string, find: () => T | undefined, timeoutMs = 8000) =>
    new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        waiters.delete(waiter)
        reject(new Error(`waited ${timeoutMs} ms in vain for ${what}`))
      }, timeoutMs)
      const settle = () => {
        const found = find()
        if (found === undefined) return false
        clearTimeout(timer)
        resolve(found)
        return true
      }
      const waiter = { settle }
      if (!settle()) waiters.add(waiter)
    })
  const check = () => {
    for (const waiter of waiters) if (waiter.settle()) waiters.delete(waiter)
  }
  return { until, check }
}
