import { close, fdatasync, openSync } from 'node:fs'
import { asError } from '../../errors.ts'

const SYNC_AFTER_MS = 250

/** Brings commits to the disk behind their backs: what a power cut can take is younger than a second. */
export interface WalSync {
  /** Something was committed. */
  touch(): void
  close(): void
}

/** `onFailure` hears of a disk that does not take the bytes. */
export function openWalSync(walPath: string, onFailure: (cause: Error) => void): WalSync {
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
