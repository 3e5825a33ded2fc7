import { close, fdatasync, openSync } from 'node:fs'
import { asError, storeUnavailable } from '../../errors.ts'
import type { AccountList } from '../contracts/accounts.ts'
import type { DayCounts } from '../contracts/places.ts'
import type { Waiting } from '../contracts/sizes.ts'
import { prepareValues, type UsageColumn, type UsageRow } from '../contracts/usage-columns.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { prepareTransaction } from '../sql/sqlite.ts'

/** Every statement that writes. */
export function prepareWrites(db: Sqlite, columns: readonly UsageColumn[]) {
  const meta = db.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
  const mark = db.prepare('INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)')
  const rehold = db.prepare('UPDATE holds SET micros = ? WHERE id = ?')
  const unhold = db.prepare('DELETE FROM holds WHERE id = ?')
  const usage = prepareUsage(db, columns)
  const charge = db.prepare(
    'INSERT INTO accounts VALUES (?, ?) ON CONFLICT DO UPDATE SET charged_micros = charged_micros + excluded.charged_micros',
  )
  const shared = db.prepare('INSERT INTO shared_charges VALUES (?, ?, ?)')
  /** The row stands on the first account alone: what the others pay of it stands beside it. */
  const share = ([, ...further]: AccountList, requestId: string, chargedMicros: number): void => {
    for (const id of further) shared.run(id, requestId, chargedMicros)
  }
  return { meta, mark, rehold, unhold, usage, share, charge }
}

export type Writes = ReturnType<typeof prepareWrites>

/** Writes a usage row. */
function prepareUsage(db: Sqlite, columns: readonly UsageColumn[]) {
  const names = columns.map(({ name }) => name)
  const insert = db.prepare(
    `INSERT INTO usage (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
  )
  const valuesOf = prepareValues(columns)
  return (row: UsageRow, chargedMicros: number): void => {
    insert.run(...valuesOf(row, chargedMicros))
  }
}

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

const nothing = (): void => undefined

/**
 * Requests of a day by token, beside the balances: a row for each token that has a limit by day and was used. They are
 * written with the next charges, so that no request waits for it.
 */
export function openDayCounts(db: Sqlite, ledger: { add(write: Write): boolean }): DayCounts {
  const select = db.prepare('SELECT token_id, count FROM days WHERE day = ?')
  const insert = db.prepare('INSERT OR REPLACE INTO days VALUES (?, ?, ?)')
  const sweep = db.prepare('DELETE FROM days WHERE day <> ?')
  // The day whose rows alone are left.
  let sweptFor = Number.NaN
  return {
    read: (day) => new Map(select.all(day).map(({ token_id, count }) => [String(token_id), Number(count)])),
    write: (day, counts) =>
      ledger.add({
        apply: () => {
          if (day !== sweptFor) sweep.run(day)
          sweptFor = day
          for (const [tokenId, count] of counts) insert.run(tokenId, day, count)
        },
        done: nothing,
        drop: nothing,
      }),
  }
}

/** All changes of one turn of the event loop in one transaction. */
export interface GroupCommit {
  add(write: Write): void
  /** Whether the last commit succeeded. */
  isReady(): boolean
  /** Whether there is no room for one more write. */
  isFull(): boolean
  /** How many writes wait, and for how long the disk has not taken them. */
  waiting(): Waiting
  /** Something was written beside the queue: it is brought to the disk as well. */
  sync(): void
  /** Writes what waits, or drops it. */
  close(): void
}

interface Options {
  db: Sqlite
  walPath: string
  /** To be called before each transaction. */
  begin: () => void
  /** The last thing in each transaction. */
  finish: () => void
  /** Proves that the disk takes bytes again. */
  probe: () => void
}

export function openGroupCommit({ db, walPath, begin, finish, probe }: Options): GroupCommit {
  const transact = prepareTransaction(db)
  let queue: Write[] = []
  let immediate: NodeJS.Immediate | undefined
  let retry: NodeJS.Timeout | undefined
  let downSince: number | undefined

  const commit = () => {
    immediate = undefined
    const batch = queue
    queue = []
    begin()
    try {
      transact(() => {
        for (const write of batch) write.apply()
        if (downSince !== undefined) probe()
        finish()
      })
    } catch {
      queue = batch
      fail()
      return
    }
    downSince = undefined
    walSync.touch()
    for (const write of batch) write.done()
  }
  const again = () => {
    retry = undefined
    if (immediate === undefined) commit()
  }
  /** Out of service until a commit succeeds. */
  const fail = () => {
    downSince ??= performance.now()
    retry ??= setTimeout(again, RETRY_AFTER_MS)
  }
  const walSync = openWalSync(walPath, fail)
  return {
    add: (write) => {
      queue.push(write)
      if (downSince === undefined) immediate ??= setImmediate(commit)
    },
    isReady: () => downSince === undefined,
    isFull: () => downSince !== undefined && queue.length >= MOST_KEPT,
    waiting: () => ({ count: queue.length, oldestMs: sinceMs(downSince) }),
    sync: walSync.touch,
    close: () => {
      if (immediate !== undefined) clearImmediate(immediate)
      if (queue.length > 0) commit()
      clearTimeout(retry)
      for (const write of queue) write.drop(storeUnavailable('The store closed before this was written'))
      queue = []
      walSync.close()
    },
  }
}

function sinceMs(at: number | undefined): number {
  return at === undefined ? 0 : performance.now() - at
}

const SYNC_AFTER_MS = 250

/** Brings commits to the disk behind their backs: what a power cut can take is younger than a second. */
interface WalSync {
  /** Something was committed. */
  touch(): void
  close(): void
}

/** `onFailure` hears of a disk that does not take the bytes. */
function openWalSync(walPath: string, onFailure: (cause: Error) => void): WalSync {
  let timer: NodeJS.Timeout | undefined
  let fd: number | undefined
  let [isSyncing, isClosed] = [false, false]

  const drop = () => {
    if (fd !== undefined) close(fd, () => undefined)
    fd = undefined
  }
  const sync = () => {
    // The -wal file has no locks on it; closing a descriptor of the database itself would drop SQLite's.
    fd ??= openSync(walPath, 'r+')
    isSyncing = true
    fdatasync(fd, (error) => {
      isSyncing = false
      // A second fsync on the same descriptor may lie after a failed one: the next one gets a new one.
      if (isClosed || error !== null) drop()
      if (!isClosed && error !== null) onFailure(error)
    })
  }
  const trySync = () => {
    timer = undefined
    try {
      sync()
    } catch (error) {
      onFailure(asError(error))
    }
  }
  return {
    touch: () => {
      timer ??= setTimeout(trySync, SYNC_AFTER_MS).unref()
    },
    close: () => {
      clearTimeout(timer)
      isClosed = true
      if (!isSyncing) drop()
    },
  }
}
