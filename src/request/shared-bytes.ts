/** What waits is paid with sockets and their buffers: more than this is sent away at once. */
const MOST_WAITING = 256
const MOST_WAITING_EACH = 64
/** Anybody may have so much while there is room at all, whatever else is theirs. */
const FREE_SHARE = 1 / 64
/** This share is kept for those who have little: however much others have, small requests pass. */
const RESERVED_SHARE = 1 / 8
/** Having little is having no more than this, and no more than `FREE_SHARE`. */
const LITTLE_BYTES = 256 * 1024
/** Whoever waits with a body half read takes this much at once. */
const STEP_BYTES = 64 * 1024
/** Holders are forgotten when there are more: to delete each at its last byte would cost every request. */
const MOST_IDLE_HOLDERS = 4_096

interface Holder {
  bytes: number
  /** Announced and admitted, but not here yet: counted against their sender alone. */
  promised: number
  waiting: number
}

interface Waiting {
  lease: Lease
  /** What has to have room: the body that is to begin, or the next step of one that has begun. */
  bytes: number
  isBegun: boolean
  go(): void
  /** Its place goes to somebody who has fewer: it waits no more. */
  giveWay(): void
}

/**
 * Bytes that all requests share, of memory or of disk. Nobody may have more than is still free, so that one alone gets
 * half of all, two get a third each, and who comes next always finds room. A part is reserved: of it everybody may have a
 * little, also when all the rest is taken. Counted is what is really here.
 */
export class SharedBytes {
  readonly #mostBytes: number
  readonly #reservedBytes: number
  readonly #littleBytes: number
  readonly #holders = new Map<string, Holder>()
  #waiting: Waiting[] = []
  #used = 0
  /** The first `littleBytes` of what each holder has: this is what the reserve is for. */
  #usedInLittle = 0
  #isWaking = false

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
    this.#reservedBytes = mostBytes * RESERVED_SHARE
    this.#littleBytes = Math.min(LITTLE_BYTES, mostBytes * FREE_SHARE)
  }

  get usedBytes(): number {
    return this.#used
  }

  /** Opens the part of one request of this holder; to be released at each of its ends. */
  open(name: string): Lease {
    let holder = this.#holders.get(name)
    if (!holder) {
      if (this.#holders.size >= MOST_IDLE_HOLDERS) this.#forgetIdle()
      holder = { bytes: 0, promised: 0, waiting: 0 }
      this.#holders.set(name, holder)
    }
    return new Lease(this, holder)
  }

  /** This and all below are for `Lease` alone. */
  charge(holder: Holder, bytes: number): boolean {
    this.#change(holder, bytes)
    return this.hasRoom(holder, 0)
  }

  free(holder: Holder, bytes: number): void {
    this.#change(holder, -bytes)
    this.wakeSoon()
  }

  #change(holder: Holder, bytes: number): void {
    const before = Math.min(holder.bytes, this.#littleBytes)
    this.#used += bytes
    holder.bytes += bytes
    this.#usedInLittle += Math.min(holder.bytes, this.#littleBytes) - before
  }

  /** Whether the holder may have so many more. */
  hasRoom({ bytes }: Holder, more: number): boolean {
    const own = bytes + more
    if (own <= this.#littleBytes && this.#usedInLittle + more <= this.#reservedBytes) return true
    const free = this.#mostBytes - this.#used - more
    return free >= this.#reservedBytes && own <= Math.max(free, this.#mostBytes * FREE_SHARE)
  }

  /** Whether all of a body that begins will fit beside what its sender has promised already. */
  mayBegin(holder: Holder, bytes: number): boolean {
    return this.hasRoom(holder, holder.promised + bytes)
  }

  wait(one: Waiting, holder: Holder): boolean {
    if (holder.waiting >= MOST_WAITING_EACH) return false
    if (this.#waiting.length >= MOST_WAITING && !this.#makePlaceFor(holder)) return false
    holder.waiting += 1
    this.#waiting.push(one)
    return true
  }

  /** The last of whoever has the most places gives way to somebody who will still have fewer. */
  #makePlaceFor({ waiting }: Holder): boolean {
    let last: Waiting | undefined
    for (const one of this.#waiting)
      if (one.lease.holder.waiting >= (last?.lease.holder.waiting ?? waiting + 2)) last = one
    if (!last) return false
    this.stopWaiting(last.lease, last.lease.holder)
    last.giveWay()
    return true
  }

  stopWaiting(lease: Lease, holder: Holder): void {
    const others = this.#waiting.filter((one) => one.lease !== lease)
    holder.waiting -= this.#waiting.length - others.length
    this.#waiting = others
  }

  /** Wakes those who wait once a turn, however much was freed in it. */
  wakeSoon(): void {
    if (this.#isWaking || this.#waiting.length === 0) return
    this.#isWaking = true
    setImmediate(() => this.#wake())
  }

  /** They are woken in the order in which they came; what one is given is no longer there for the next. */
  #wake(): void {
    this.#isWaking = false
    let given = 0
    for (const one of [...this.#waiting]) {
      const { holder } = one.lease
      const hasRoom = one.isBegun
        ? this.hasRoom(holder, given + one.bytes)
        : this.mayBegin(holder, given + one.bytes)
      // What went on before it may have ended it.
      if (!hasRoom || !this.#waiting.includes(one)) continue
      given += Math.min(one.bytes, STEP_BYTES)
      this.stopWaiting(one.lease, holder)
      one.go()
    }
  }

  #forgetIdle(): void {
    for (const [name, { bytes, promised, waiting }] of this.#holders)
      if (bytes + promised + waiting === 0) this.#holders.delete(name)
  }
}

/** One request's part of the shared bytes. */
export class Lease {
  readonly #shared: SharedBytes
  readonly holder: Holder
  #bytes = 0
  #promised = 0
  #isOver = false

  constructor(shared: SharedBytes, holder: Holder) {
    this.#shared = shared
    this.holder = holder
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Promises that so many bytes will come; false: there is no room for them now, and nothing is promised. */
  begin(bytes: number): boolean {
    if (this.#isOver || !this.#shared.mayBegin(this.holder, bytes)) return false
    this.#promise(bytes)
    return true
  }

  /** Counts bytes that are here; false: no more of them may be read until there is room. */
  take(bytes: number): boolean {
    if (this.#isOver) return false
    this.#promise(-Math.min(bytes, this.#promised))
    this.#bytes += bytes
    return this.#shared.charge(this.holder, bytes)
  }

  /** Takes the bytes as `take` does, but only if there is room. */
  takeIfRoom(bytes: number): boolean {
    return !this.#isOver && this.#shared.hasRoom(this.holder, bytes) && this.take(bytes)
  }

  /** Calls `go` when `begin` of so many bytes has succeeded, or `giveWay`; false: too many wait already. */
  waitToBegin(bytes: number, go: () => void, giveWay: () => void): boolean {
    const begin = (): void => {
      this.#promise(bytes)
      go()
    }
    if (this.#isOver) return false
    return this.#shared.wait({ lease: this, bytes, isBegun: false, go: begin, giveWay }, this.holder)
  }

  /** Calls `go` when more may be read, or `giveWay`; false: too many wait already. */
  waitForMore(go: () => void, giveWay: () => void): boolean {
    if (this.#isOver) return false
    return this.#shared.wait({ lease: this, bytes: STEP_BYTES, isBegun: true, go, giveWay }, this.holder)
  }

  stopWaiting(): void {
    this.#shared.stopWaiting(this, this.holder)
  }

  /** All of it has come: what was promised beyond is not needed. */
  settle(): void {
    if (this.#promised === 0) return
    this.#promise(-this.#promised)
    this.#shared.wakeSoon()
  }

  /** Gives all of it back, also what is promised or waited for; twice is once. */
  release(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.settle()
    if (this.holder.waiting > 0) this.stopWaiting()
    this.#shared.free(this.holder, this.#bytes)
    this.#bytes = 0
  }

  #promise(bytes: number): void {
    this.#promised += bytes
    this.holder.promised += bytes
  }
}
