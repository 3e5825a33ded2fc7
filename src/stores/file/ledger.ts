import { storeUnavailable } from '../../errors.ts'
import {
  type AccountList,
  type Credits,
  checkAccounts,
  checkMicros,
  type Hold,
  type HoldRequest,
  holdOver,
  type Settlement,
  writeAccounts,
} from '../contracts/accounts.ts'
import { type StoreSizes, waitingOf } from '../contracts/sizes.ts'
import type { UsageRow } from '../contracts/usage-columns.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { Balances, EndedHolds, listGuestHolds, type OpenHold, openHold } from './balances.ts'
import { prepareGuestHolds, readGuestHolds } from './guest-holds.ts'
import type { LedgerFile } from './ledger-file.ts'
import { ledgerError } from './ledger-file.ts'
import type { GroupCommit, Write, Writes } from './ledger-writes.ts'
import { openGroupCommit, prepareWrites } from './ledger-writes.ts'
import { readCharged } from './recovery.ts'
import type { TokenRecord } from './token-record.ts'

/** A settlement that waits for its commit. */
interface Ending {
  /** Undefined: nothing was used. */
  row: UsageRow | undefined
  costMicros: number
  resolve(settlement: Settlement): void
  reject(cause: unknown): void
}

/** Balances, holds and usage rows: decided in memory at once, acknowledged once they are written. */
export class Ledger {
  readonly #db: Sqlite
  readonly #writes: Writes
  readonly #guests: ReturnType<typeof prepareGuestHolds>
  readonly #lastUse: ReturnType<Sqlite['prepare']>
  readonly #commits: GroupCommit
  readonly #balances = new Balances()
  readonly #open = new Map<number, OpenHold>()
  readonly #ended = new EndedHolds()
  /** What the turn's settlements charge, by account. */
  readonly #charges = new Map<string, number>()
  #nextId = 1
  /** Charged in memory, and not on record yet. */
  #unsettled = 0
  #isClosed = false

  /** Settles what a dead process has left, and knows every balance; throws a `StoreError`. */
  constructor({ db, path, columns }: LedgerFile, tokens: readonly TokenRecord[]) {
    this.#db = db
    try {
      this.#writes = prepareWrites(db, columns)
      this.#lastUse = db.prepare('SELECT time FROM usage WHERE token_id = ? ORDER BY time DESC LIMIT 1')
      const charged = readCharged(db, this.#writes, tokens)
      for (const { id, creditedMicros } of tokens)
        this.#balances.open(id, creditedMicros, charged.get(id) ?? 0)
      this.#guests = prepareGuestHolds(db)
      this.#restore()
    } catch (cause) {
      throw ledgerError(path, cause)
    }
    this.#commits = openGroupCommit({
      db,
      walPath: `${path}-wal`,
      begin: () => this.#charges.clear(),
      finish: () => {
        for (const [accountId, micros] of this.#charges) this.#writes.charge.run(accountId, micros)
      },
      probe: () => this.#writes.meta.run('checkedAt', String(Date.now())),
    })
  }

  /** Both files of the store were written: from now on neither may be missing. */
  setInitialised(): void {
    this.#writes.meta.run('initialised', '1')
    this.sync()
  }

  sync(): void {
    this.#commits.sync()
  }

  openAccount(accountId: string, creditedMicros: number): void {
    this.#balances.open(accountId, creditedMicros, 0)
  }

  /** To be called after a top-up, or before a debit that the balances cover. */
  credit(accounts: AccountList, micros: number): void {
    this.#balances.credit(accounts, micros)
  }

  /** The least that is free on any of them. */
  leastMicros(accounts: AccountList): number {
    return this.#balances.leastMicros(accounts)
  }

  /** Writes with the next charges, after all that was written before; false: there is no room for it. */
  add(write: Write): boolean {
    if (this.#isClosed || this.#commits.isFull()) return false
    this.#commits.add(write)
    return true
  }

  credits(accountId: string): Credits | undefined {
    return this.#balances.credits(accountId)
  }

  /** A hold is in memory alone: until an answer begins there is nothing that a crash could leave unpaid. */
  async hold(
    { accounts, requestId, micros, leastMicros }: HoldRequest,
    guest?: string,
  ): Promise<Hold | undefined> {
    checkAccounts(accounts)
    checkMicros('micros', micros)
    checkMicros('leastMicros', leastMicros)
    if (!this.isReady()) throw storeUnavailable('The balance cannot be written just now: try again')
    const granted = this.#balances.hold(accounts, micros, leastMicros)
    if (granted === undefined) return undefined
    const id = this.#nextId++
    this.#open.set(id, openHold({ accounts, micros: granted, guest }))
    // A guest lives on when this process dies: what it holds is known then.
    if (guest !== undefined)
      await this.#written(() => {
        if (this.#open.has(id)) this.#guests.put(id, guest, { accounts, requestId, micros: granted })
      })
    return { id, accounts, micros: granted, balanceMicros: this.#balances.leastMicros(accounts) }
  }

  /** As with `hold` memory decides; what is written of a marked hold is for who reads the books meanwhile. */
  async raise(holdId: number, micros: number, leastMicros = micros): Promise<Hold | undefined> {
    checkMicros('micros', micros)
    checkMicros('leastMicros', leastMicros)
    if (!this.isReady()) throw storeUnavailable('The balance cannot be written just now: try again')
    const hold = this.#open.get(holdId)
    if (hold === undefined) throw holdOver()
    const { accounts } = hold
    if (micros > hold.micros) {
      const least = Math.min(micros, leastMicros) - hold.micros
      const granted = this.#balances.raise(accounts, micros - hold.micros, least)
      if (granted === undefined) return undefined
      hold.micros += granted
      if (hold.guest !== undefined) await this.#written(() => this.#rehold(holdId, hold))
      else if (hold.isWritten) void this.#written(() => this.#rehold(holdId, hold)).catch(() => undefined)
    }
    return { id: holdId, accounts, micros: hold.micros, balanceMicros: this.#balances.leastMicros(accounts) }
  }

  markAnswered(holdId: number, leastMicros: number, row: UsageRow): void {
    checkMicros('leastMicros', leastMicros)
    const hold = this.#open.get(holdId)
    if (!hold || hold.isMarked || this.#isClosed || this.#commits.isFull()) return
    hold.isMarked = true
    hold.isWritten = true
    if (hold.guest !== undefined) hold.mark = { leastMicros, row }
    this.#commits.add({
      apply: () => {
        // Settled in the same turn: its usage row is the real one.
        if (!this.#open.has(holdId)) return
        const { accounts, micros } = hold
        this.#writes.mark.run(
          holdId,
          writeAccounts(accounts),
          row.requestId,
          micros,
          leastMicros,
          JSON.stringify(row),
          row.at,
        )
      },
      done: () => undefined,
      drop: () => undefined,
    })
  }

  settle(holdId: number, row: UsageRow): Promise<Settlement> {
    return new Promise((resolve, reject) => {
      checkMicros('costMicros', row.costMicros)
      const hold = this.#open.get(holdId)
      if (hold === undefined) return resolve(this.#settledBefore(holdId, row))
      // The hold stays as it is: the next start ends it.
      if (this.#isClosed || this.#commits.isFull()) throw storeUnavailable('The charge cannot be written')
      this.#commits.add(this.#end(holdId, hold, { row, costMicros: row.costMicros, resolve, reject }))
    })
  }

  /** Holds of guests, or of the one guest. */
  guestHolds(guest?: string): [id: number, guest: string][] {
    return listGuestHolds(this.#open, guest)
  }

  /** The guest is this server from now on. */
  own(guest: string): void {
    for (const [id] of this.guestHolds(guest)) {
      const hold = this.#open.get(id)
      if (hold) hold.guest = undefined
      void this.#written(() => this.#guests.remove(id)).catch(() => undefined)
    }
  }

  /** Nobody is left to settle it: an answer that had begun costs its least, any other nothing. */
  abandon(holdId: number): void {
    const hold = this.#open.get(holdId)
    if (hold === undefined || this.#isClosed) return
    const { mark } = hold
    const row = mark && { ...mark.row, estimated: true }
    const nobody = { resolve: () => undefined, reject: () => undefined }
    this.#commits.add(this.#end(holdId, hold, { row, costMicros: mark?.leastMicros ?? 0, ...nobody }))
  }

  /** Charges now, in memory; the write that follows puts it on record. */
  #end(holdId: number, hold: OpenHold, { row, costMicros, resolve, reject }: Ending): Write {
    const { accounts, micros, isWritten, guest } = hold
    const tokenId = accounts[0]
    const chargedMicros = this.#balances.charge(accounts, micros, costMicros)
    const settlement = { chargedMicros, balanceMicros: this.#balances.leastMicros(accounts) }
    this.#open.delete(holdId)
    this.#unsettled += 1
    this.#ended.remember({ holdId, accounts, chargedMicros })
    const charged = row === undefined || row.tokenId === tokenId ? row : { ...row, tokenId }
    return {
      apply: () => {
        if (isWritten) this.#writes.unhold.run(holdId)
        if (guest !== undefined) this.#guests.end(holdId, accounts, chargedMicros)
        if (charged === undefined) return
        this.#writes.usage(charged, chargedMicros)
        if (accounts.length > 1) this.#writes.share(accounts, charged.requestId, chargedMicros)
        if (chargedMicros > 0) this.#addCharge(accounts, chargedMicros)
      },
      done: () => {
        this.#unsettled -= 1
        resolve(settlement)
      },
      drop: reject,
    }
  }

  #rehold(holdId: number, hold: OpenHold): void {
    if (this.#open.has(holdId)) this.#writes.rehold.run(hold.micros, holdId)
  }

  /** Writes with the next charges: it is on record when this resolves. */
  #written(apply: () => void): Promise<void> {
    return new Promise((done, drop) => this.#commits.add({ apply, done, drop }))
  }

  /** Guests outlive the server that they held this with. */
  #restore(): void {
    const { holds, ended, lastId } = readGuestHolds(this.#db)
    for (const { id, ...hold } of holds)
      this.#open.set(id, openHold({ ...hold, micros: this.#balances.restore(hold.accounts, hold.micros) }))
    for (const one of ended) this.#ended.remember(one)
    this.#nextId = lastId + 1
  }

  #addCharge(accounts: AccountList, micros: number): void {
    for (const id of accounts) this.#charges.set(id, (this.#charges.get(id) ?? 0) + micros)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  isReady(): boolean {
    return !this.#isClosed && this.#commits.isReady()
  }

  /** When the last request of the account came that is on record. */
  lastUsedAt(accountId: string): number | undefined {
    const found = this.#isClosed ? undefined : this.#lastUse.get(accountId)
    return found && Number(found.time)
  }

  /** What waits here. */
  waiting(): Pick<StoreSizes, 'holds' | 'unsettled' | 'commitQueue'> {
    const { count, oldestMs } = this.#commits.waiting()
    return {
      holds: waitingOf(this.#open, performance.now()),
      unsettled: { count: this.#unsettled, oldestMs: this.#unsettled > 0 ? oldestMs : 0 },
      commitQueue: count,
    }
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#commits.close()
    this.#db.close()
  }

  #settledBefore(holdId: number, row: UsageRow): Settlement {
    const ended = this.#ended.find(holdId)
    return {
      chargedMicros: ended?.chargedMicros ?? 0,
      balanceMicros: this.#balances.leastMicros(ended?.accounts ?? [row.tokenId]),
    }
  }
}
