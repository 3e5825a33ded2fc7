import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { readAccounts, writeAccounts } from '../contracts/accounts.ts'
import type { Waiting } from '../contracts/sizes.ts'
import { CANCELLED, type Context, type End, endHold, type HoldName } from './context.ts'

export const UNSETTLED = /^unsettled-([A-Za-z0-9_-]+)\.jsonl$/
const MOST_WAITING = 10_000

interface Entry extends HoldName {
  end: End
  /** By the clock of `performance.now`. */
  since: number
}

/** Ends of holds that Redis has not taken yet: on the local disk, done once it answers. */
export interface Unsettled {
  /** Durable when it resolves. */
  add(name: HoldName, end: End): Promise<void>
  /** Gives up a hold of which nobody knows whether it stands; it dies with this process at the latest. */
  cancel(name: HoldName): void
  has(hold: string): boolean
  /** New holds are refused: what runs already still finds room. */
  isFull(): boolean
  waiting(): Waiting
  /** Does what waits, in order; stops where Redis does. */
  flush(): Promise<void>
  /** Does what a dead replica has left in `DB_DIR`, from its file's text. */
  adopt(text: string): Promise<void>
  close(): Promise<void>
}

/** The file is made with the first entry and emptied when none is left: doing it all again is harmless. */
export function openUnsettled(context: Context, dbDir: string): Unsettled {
  const waiting: Entry[] = []
  const holds = new Set<string>()
  const journal = openJournal(join(dbDir, `unsettled-${context.owner}.jsonl`))
  const cancels: HoldName[] = []
  let flushing: Promise<void> | undefined

  const flushAll = async (): Promise<void> => {
    for (let entry = waiting[0]; entry !== undefined; entry = waiting[0]) {
      await endHold(context, entry, entry.end)
      waiting.shift()
      holds.delete(entry.hold)
    }
    await journal.clear(() => waiting.length === 0)
    for (let name = cancels.pop(); name !== undefined; name = cancels.pop())
      await cancelNow(context, name, cancels)
  }
  return {
    add: async ({ owner, hold, accounts }, end) => {
      waiting.push({ owner, hold, accounts, end, since: performance.now() })
      holds.add(hold)
      await journal.append(JSON.stringify({ owner, hold, tokenId: writeAccounts(accounts), end }))
    },
    cancel: (name) => {
      // What does not fit is found by its owner's own look around.
      if (cancels.length < MOST_WAITING) cancels.push(name)
    },
    has: (hold) => holds.has(hold),
    isFull: () => waiting.length >= MOST_WAITING,
    waiting: () => {
      const now = performance.now()
      return { count: waiting.length, oldestMs: now - (waiting[0]?.since ?? now) }
    },
    flush: () => {
      flushing ??= flushAll().finally(() => {
        flushing = undefined
      })
      return flushing
    },
    adopt: async (text) => {
      for (const { end, ...name } of readEntries(text)) await endHold(context, name, end)
    },
    close: journal.close,
  }
}

async function cancelNow(context: Context, name: HoldName, rest: HoldName[]): Promise<void> {
  try {
    await endHold(context, name, CANCELLED)
  } catch (error) {
    rest.push(name)
    throw error
  }
}

/** Whole lines only: one that a crash or a full disk cut short was acknowledged to nobody, or stands again behind it. */
function readEntries(text: string): Omit<Entry, 'since'>[] {
  return text.split('\n').flatMap((line): Omit<Entry, 'since'>[] => {
    try {
      const { tokenId, ...entry } = JSON.parse(line)
      return [{ ...entry, accounts: readAccounts(tokenId) }]
    } catch {
      return []
    }
  })
}

/** Lines that are on the disk when `append` resolves; what is asked for meanwhile goes in one write. */
function openJournal(path: string) {
  let handle: FileHandle | undefined
  let batch: string[] = []
  let writing: Promise<void> | undefined
  let tail: Promise<unknown> = Promise.resolve()

  const inOrder = <T>(work: () => Promise<T>): Promise<T> => {
    const done = tail.then(work)
    tail = done.catch(() => undefined)
    return done
  }
  const write = async (): Promise<void> => {
    const lines = batch
    batch = []
    writing = undefined
    try {
      handle ??= await open(path, 'a', 0o600)
      // The line break in front ends what a failed write may have left.
      await handle.appendFile(`\n${lines.join('\n')}\n`)
      await handle.datasync()
    } catch (error) {
      batch = [...lines, ...batch]
      throw error
    }
  }
  return {
    append: (line: string): Promise<void> => {
      batch.push(line)
      writing ??= inOrder(write)
      return writing
    },
    clear: (isEmpty: () => boolean): Promise<void> =>
      inOrder(async () => {
        if (isEmpty()) await handle?.truncate(0)
      }),
    close: (): Promise<void> => inOrder(async () => handle?.close()),
  }
}
