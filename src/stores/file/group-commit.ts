import { storeUnavailable } from '../../errors.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { prepareTransaction } from '../sql/sqlite.ts'

const RETRY_AFTER_MS = 1000
const MOST_KEPT = 10_000

/** One change of the ledger. */
export interface Write {
  /** To be called inside the transaction. */
  apply(): void
  /** To be called after the commit. */
  done(): void
  /** The ledger closes and could not write it; until then a failed commit is tried again. */
  drop(cause: unknown): void
}

/** All changes of one turn of the event loop in one transaction. */
export interface GroupCommit {
  add(write: Write): void
  /** Whether the last commit succeeded. */
  isReady(): boolean
  /** Whether there is no room for one more write. */
  isFull(): boolean
  /** Takes the ledger out of service until a commit succeeds. */
  fail(): void
  /** Writes what waits, or drops it. */
  close(): void
}

interface Options {
  db: Sqlite
  /** To be called before each transaction. */
  begin: () => void
  /** The last thing in each transaction. */
  finish: () => void
  /** Proves that the disk takes bytes again. */
  probe: () => void
  onCommit: () => void
}

export function openGroupCommit({ db, begin, finish, probe, onCommit }: Options): GroupCommit {
  const transact = prepareTransaction(db)
  let queue: Write[] = []
  let immediate: NodeJS.Immediate | undefined
  let retry: NodeJS.Timeout | undefined
  let isReady = true

  const commit = () => {
    immediate = undefined
    const batch = queue
    queue = []
    begin()
    try {
      transact(() => {
        for (const write of batch) write.apply()
        if (!isReady) probe()
        finish()
      })
    } catch {
      queue = batch
      fail()
      return
    }
    isReady = true
    onCommit()
    for (const write of batch) write.done()
  }
  const again = () => {
    retry = undefined
    if (immediate === undefined) commit()
  }
  const fail = () => {
    isReady = false
    retry ??= setTimeout(again, RETRY_AFTER_MS)
  }
  return {
    add: (write) => {
      queue.push(write)
      if (isReady) immediate ??= setImmediate(commit)
    },
    isReady: () => isReady,
    isFull: () => !isReady && queue.length >= MOST_KEPT,
    fail,
    close: () => {
      if (immediate !== undefined) clearImmediate(immediate)
      if (queue.length > 0) commit()
      clearTimeout(retry)
      for (const write of queue) write.drop(storeUnavailable('The store closed before this was written'))
      queue = []
    },
  }
}
