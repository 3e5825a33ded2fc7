import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { OPCODES, type Violation, writeClose, writeFrame } from './frames.ts'
import { type ByteMask, Lane, type LaneListener, type LaneOptions } from './lane.ts'
import type { MessageInspector } from './message-copy.ts'

export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024
/** How long the other side may take to answer a close frame of ours. */
const FAREWELL_MS = 1_000
/** How long one side may take to read what is left for it when the other is gone. */
const LINGER_MS = 10_000

/** One end of a relay: its socket, and the first bytes that came with the handshake. */
export interface End {
  socket: Socket
  head: Buffer
}

export interface RelayOptions {
  client: End
  upstream: End
  idleTimeoutMs: number
  fromClient?: MessageInspector | undefined
  fromUpstream?: MessageInspector | undefined
  /** Keeps the upstream's own key out of what it says. */
  mask?: ByteMask | undefined
  /** A longer message of the client's ends it with 1009. */
  maxMessageBytes?: number | undefined
  /** What a client is told whose upstream is gone without a close frame; undefined: nothing, its socket ends. */
  farewell?: { code: number; reason: string } | undefined
  /** Both sockets are closed. */
  over(): void
}

/** How a relay went, for the log. */
export interface RelayCounts {
  messagesIn: number
  messagesOut: number
  bytesIn: number
  bytesOut: number
  closeCode: number
}

type Reading = Pick<LaneOptions, 'inspector' | 'mask'>

/** One side's end of the line, as the idle clock sees it. */
interface Side {
  socket: Socket
  lane: Lane
  /** The lane that leads to it, for pings. */
  toward: Lane
  isMasked: boolean
  wasHeard: boolean
  silentMs: number
  pingedMs: number
}

/** Two sockets joined after both handshakes: frames pass as they came, closing and silence included. */
export class Relay {
  readonly #options: RelayOptions
  readonly #up: Lane
  readonly #down: Lane
  readonly #sides: readonly Side[]
  readonly #tag = randomBytes(8)
  #closeCode = 1006
  #isClosing = false
  /** One side has sent a close frame, and the other one has got it. */
  #isFarewellSaid = false
  #leftFirst: 'client' | 'upstream' | undefined
  #open = 2
  #linger: NodeJS.Timeout | undefined

  constructor(options: RelayOptions) {
    this.#options = options
    const { client, upstream } = options
    const lane = (from: Socket, to: Socket, isMasked: boolean, reading: Reading): Lane => {
      const own = isMasked ? options.maxMessageBytes : undefined
      const maxMessageBytes = Math.min(own ?? MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
      return new Lane({ from, to, isMasked, maxMessageBytes, ...reading, listener: this.#listen(isMasked) })
    }
    const { mask, fromClient, fromUpstream } = options
    this.#up = lane(client.socket, upstream.socket, true, { inspector: fromClient })
    this.#down = lane(upstream.socket, client.socket, false, { inspector: fromUpstream, mask })
    const clock = { wasHeard: true, silentMs: 0, pingedMs: 0 }
    this.#sides = [
      { ...clock, socket: client.socket, lane: this.#up, toward: this.#down, isMasked: false },
      { ...clock, socket: upstream.socket, lane: this.#down, toward: this.#up, isMasked: true },
    ]
  }

  start(): void {
    const { client, upstream } = this.#options
    for (const [side, head] of [
      [this.#sides[0], client.head],
      [this.#sides[1], upstream.head],
    ] as const) {
      if (!side) continue
      this.#attach(side)
      if (head.length > 0) side.lane.push(head)
    }
  }

  /** True until both sockets are closed. */
  get isOpen(): boolean {
    return this.#open > 0
  }

  /** Who ended it, with a close frame or without; undefined: nobody yet, or the gateway. */
  get leftFirst(): 'client' | 'upstream' | undefined {
    return this.#leftFirst
  }

  counts(): RelayCounts {
    return {
      messagesIn: this.#up.messages,
      messagesOut: this.#down.messages,
      bytesIn: this.#up.bytes,
      bytesOut: this.#down.bytes,
      closeCode: this.#closeCode,
    }
  }

  /** Tells the client something, between two messages of the upstream's. */
  tell(event: string): void {
    if (!this.#isClosing) this.#down.insert(writeFrame(OPCODES.text, Buffer.from(event), false), true)
  }

  /** The gateway ends it: the client is told why (`event`: a last text message), the upstream that it is over. */
  close(code: number, reason: string, event?: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#closeCode = code
    const { client, upstream } = this.#options
    const last = [writeClose(code, reason, false)]
    if (event !== undefined) last.unshift(writeFrame(OPCODES.text, Buffer.from(event), false))
    this.#down.finish(Buffer.concat(last), event !== undefined, () => client.socket.end())
    this.#up.finish(writeClose(1001, '', true), false, () => upstream.socket.end())
    clearTimeout(this.#linger)
    this.#linger = setTimeout(() => this.destroy(), FAREWELL_MS)
  }

  /** Cuts both sockets without a word. */
  destroy(): void {
    for (const { socket } of this.#sides) socket.destroy()
  }

  /** Pings a side that is silent, and gives it up when it stays so; to be called every `ms`. */
  tick(ms: number): void {
    const { idleTimeoutMs } = this.#options
    if (this.#isClosing) return
    for (const side of this.#sides) {
      const isHeard = side.wasHeard || side.lane.isPaused
      side.wasHeard = false
      side.silentMs = isHeard ? 0 : side.silentMs + ms
      if (isHeard) side.pingedMs = 0
      if (side.silentMs >= idleTimeoutMs) return this.close(1001, 'idle timeout')
      if (side.silentMs - side.pingedMs < idleTimeoutMs / 3) continue
      side.pingedMs = side.silentMs
      side.toward.insert(writeFrame(OPCODES.ping, this.#tag, side.isMasked))
    }
  }

  #listen(isFromClient: boolean): LaneListener {
    return {
      isOwnPong: (payload) => payload.equals(this.#tag),
      closing: (code) => {
        this.#noteLeaving(isFromClient)
        this.#isFarewellSaid = true
        if (this.#closeCode === 1006) this.#closeCode = code
      },
      broken: (code) => this.#break(code, isFromClient),
    }
  }

  /** The other side is told the code; its answer to that reaches the one who broke the rule, after all else. */
  #break(code: Violation, isFromClient: boolean): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#closeCode = code
    const back = isFromClient ? this.#down : this.#up
    const other = isFromClient ? this.#options.upstream.socket : this.#options.client.socket
    if (other.writable) other.write(writeClose(code, '', isFromClient))
    clearTimeout(this.#linger)
    this.#linger = setTimeout(() => {
      back.finish(writeClose(code, '', !isFromClient), false, () => this.#endAll())
      this.#linger = setTimeout(() => this.destroy(), FAREWELL_MS)
    }, FAREWELL_MS)
  }

  #attach(side: Side): void {
    const { socket, lane } = side
    const isClient = socket === this.#options.client.socket
    const other = isClient ? this.#options.upstream : this.#options.client
    socket.setTimeout(0)
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      side.wasHeard = true
      lane.push(chunk)
    })
    socket.on('error', () => socket.destroy())
    const ended = (): void => {
      this.#noteLeaving(isClient)
      if (!isClient) this.#sayFarewell()
      other.socket.end()
      this.#lingerOn(LINGER_MS)
    }
    if (socket.readableEnded) queueMicrotask(ended)
    else socket.once('end', ended)
    const closed = (): void => {
      this.#noteLeaving(isClient)
      this.#open -= 1
      if (!isClient) this.#sayFarewell()
      other.socket.end()
      // A client that is gone needs nothing more; one whose upstream is gone may still read.
      this.#lingerOn(other.socket === this.#options.upstream.socket ? FAREWELL_MS : LINGER_MS)
      if (this.#open > 0) return
      clearTimeout(this.#linger)
      this.#options.over()
    }
    if (socket.destroyed) queueMicrotask(closed)
    else socket.once('close', closed)
  }

  /** The upstream hung up without one. Inside of a frame that has begun to pass there is no place for it. */
  #sayFarewell(): void {
    const { farewell } = this.#options
    if (!farewell || this.#isFarewellSaid || this.#isClosing || this.#leftFirst === 'client') return
    this.#isFarewellSaid = true
    this.#down.finish(writeClose(farewell.code, farewell.reason, false), false, () => {
      this.#closeCode = farewell.code
    })
  }

  #noteLeaving(isClient: boolean): void {
    if (!this.#isClosing) this.#leftFirst ??= isClient ? 'client' : 'upstream'
  }

  #lingerOn(ms: number): void {
    if (this.#isClosing || this.#open === 0) return
    clearTimeout(this.#linger)
    this.#linger = setTimeout(() => this.destroy(), ms)
  }

  #endAll(): void {
    for (const { socket } of this.#sides) socket.end()
  }
}
