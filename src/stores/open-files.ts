import { setTimeout as sleep } from 'node:timers/promises'
import type { GuestCalls } from './contracts/guests.ts'
import type { IdempotencyStore, KeyLimits } from './contracts/idempotency.ts'
import type { DayCounts, OwnCounts, SharedCounts } from './contracts/places.ts'
import { StoreError, type Warn } from './contracts/store-error.ts'
import type { TokenStore } from './contracts/token-store.ts'
import type { KeepRows } from './file/old-rows.ts'
import { type FileStore, openFileStore } from './file/store.ts'
import { type Host, openHost } from './host.ts'

/** The folder that one server has and hands over to the next. */
export interface Folder {
  /** Calls back as soon as this server has it: at once, or when the one before it has ended. */
  onceOwned(then: () => void): void
  /** Lets a successor work on its files from now on; their requests are counted in `counts`. */
  letIn(counts?: OwnCounts): Promise<void>
  /** How many successors are there. */
  guests(): number
}

export interface FileOptions {
  dbDir: string
  limits: KeyLimits
  /** What becomes of old usage rows. */
  keep: KeepRows
  takeOver: boolean
  warn: Warn
}

interface FileStores {
  tokens: TokenStore
  idempotency: IdempotencyStore
  counts: SharedCounts | undefined
  redisMemory: undefined
  /** There as soon as this server has the folder. */
  days(): DayCounts | undefined
  folder: Folder
  close(): Promise<void>
}

/** A server that is about to have the folder, or to leave it, takes less. */
const PATIENCE_MS = 10_000
const LOOK_AGAIN_MS = 20

/** The files of a folder: this server's own, or those of the one before it until that has ended. */
export async function openFiles(options: FileOptions): Promise<FileStores> {
  const { dbDir, takeOver } = options
  const until = performance.now() + PATIENCE_MS
  for (;;) {
    try {
      const own = ownFiles(await openFileStore(dbDir, options), options)
      return { ...FILES, ...own, folder: { ...own.folder, onceOwned: (then) => then() } }
    } catch (error) {
      if (!takeOver || !(error instanceof StoreError) || error.reason !== 'locked') throw error
      const guest = await openAsGuest(options).catch((cause) =>
        cause instanceof StoreError ? cause : undefined,
      )
      if (guest instanceof StoreError) throw guest
      if (guest) return guest
      if (performance.now() > until)
        throw new StoreError('locked', `${error.message} (it is of a release that hands nothing over)`)
    }
    await sleep(LOOK_AGAIN_MS)
  }
}

const FILES = { counts: undefined, redisMemory: undefined }

function ownFiles({ tokens, idempotency, days, seats }: FileStore, { dbDir, warn }: FileOptions) {
  let host: Promise<Host> | undefined
  let guests = (): number => 0
  const folder = {
    letIn: async (counts?: OwnCounts): Promise<void> => {
      if (counts) seats.countIn(counts)
      host ??= openHost({ dbDir, seats, warn })
      guests = (await host).guests
    },
    guests: () => guests(),
  }
  const close = async (): Promise<void> => {
    const opened = await host
    opened?.stop()
    await tokens.close()
    opened?.dismiss()
  }
  return { tokens, idempotency, days: () => days, folder, close }
}

interface OwnedFiles extends ReturnType<typeof ownFiles> {
  calls: GuestCalls
}

/** Throws when nobody lets this server in. */
async function openAsGuest(options: FileOptions): Promise<FileStores> {
  const { dbDir, warn } = options
  const { openGuestStore } = await import('./guest/store.ts')
  let own: OwnedFiles | undefined
  let told: (() => void)[] = []
  const { tokens, idempotency, counts } = await openGuestStore<OwnedFiles>({
    dbDir,
    warn,
    openOwn: async ({ name, things }) => {
      const store = await openFileStore(dbDir, options)
      const calls = store.seats.own(name, things.all())
      return { ...ownFiles(store, options), calls }
    },
    onOwned: (taken, aloneMs) => {
      own = taken
      warn(
        { dbDir, waitedMs: Math.round(aloneMs) },
        'the server before this one has ended: DB_DIR is taken over',
      )
      for (const then of told) then()
      told = []
    },
  })
  const folder: Folder = {
    onceOwned: (then) => {
      if (own) then()
      else told.push(then)
    },
    letIn: async (counts) => own?.folder.letIn(counts),
    guests: () => own?.folder.guests() ?? 0,
  }
  const days = (): DayCounts | undefined => own?.days()
  return { ...FILES, tokens, idempotency, counts, days, folder, close: () => tokens.close() }
}
