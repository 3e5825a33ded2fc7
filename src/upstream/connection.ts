import { connect, type OnReadOpts, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import type { Call } from './call.ts'
import { tlsOptions, UpstreamError } from './rules.ts'

/** Where a provider listens. */
export interface Origin {
  /** The `host` header: with the port, when it is not the scheme's own. */
  authority: string
  host: string
  port: number
  isTls: boolean
  /** The TLS session of the last connection (RFC 8446 section 2.2): the next handshake is shorter. */
  session: Buffer | undefined
}

/** Probes of an idle connection by the kernel: a firewall that forgot it is noticed before a request is lost in it. */
const KEEP_ALIVE_PROBE_MS = 30_000

export function readOrigin(origin: string): Origin {
  const { host, hostname, port, protocol } = new URL(origin)
  const isTls = protocol === 'https:'
  return {
    authority: host,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (isTls ? 443 : 80) : Number(port),
    isTls,
    session: undefined,
  }
}

/** Who keeps connections between two calls. */
export interface Keeper {
  readonly connectTimeoutMs: number
  /** Where every read of every connection lands. */
  readonly scratch: Uint8Array
  keep(connection: Connection, forMs: number): void
  forget(connection: Connection): void
}

/** One connection to a provider: one call at a time, kept for the next one when the answer ended as it should. */
export class Connection {
  readonly #socket: Socket
  readonly #origin: Origin
  readonly #keeper: Keeper
  #call: Call | undefined
  #isReady = false
  /** When the keeper lets it go, on the monotonic clock. */
  keptUntilMs = 0

  constructor(origin: Origin, keeper: Keeper) {
    this.#origin = origin
    this.#keeper = keeper
    this.#socket = openSocket(origin, {
      timeoutMs: keeper.connectTimeoutMs,
      scratch: keeper.scratch,
      ready: () => {
        this.#isReady = true
        this.#call?.send(this.#socket, this.#origin.authority)
      },
      read: (bytes) => this.#read(bytes),
    })
    let reason: Error | undefined
    this.#socket
      .once('end', () => this.#hungUp())
      .once('error', (error) => {
        reason = error
      })
      .once('close', () => this.#closed(reason))
  }

  /** The next call; only when there is none. Its request leaves when the connection stands. */
  carry(call: Call): void {
    this.#call = call
    if (this.#isReady) call.send(this.#socket, this.#origin.authority)
  }

  /** Gives `call` up; it may have ended long ago, and another one may be on its way here. */
  abandon(call: Call): void {
    if (this.#call !== call) return
    this.#call = undefined
    call.abandon()
    this.close()
  }

  close(): void {
    // It is forgotten at once: the socket's own event comes a turn later, and a call in between would be lost.
    this.#keeper.forget(this)
    this.#socket.destroy()
  }

  #read(bytes: Buffer): void {
    const call = this.#call
    // Bytes that nobody has asked for: whatever they are, the next answer would be read wrongly.
    if (!call) return this.close()
    const keepMs = call.read(bytes)
    if (!call.isOver()) return
    if (this.#call === call) this.#call = undefined
    if (!keepMs || this.#socket.destroyed) return this.close()
    if (this.#socket.isPaused()) this.#socket.resume()
    this.#keeper.keep(this, keepMs)
  }

  #hungUp(): void {
    const call = this.#call
    this.#call = undefined
    call?.hungUp()
    this.close()
  }

  #closed(reason: Error | undefined): void {
    const call = this.#call
    this.#call = undefined
    this.#keeper.forget(this)
    if (!call || call.isOver()) return
    call.fail(reason ?? new UpstreamError('CLOSED_EARLY', 'The connection to the provider was lost'))
  }
}

/** What becomes of a connection. */
interface SocketUse {
  timeoutMs: number
  /** Where every read of every connection lands: without it each would have a new 64 KiB buffer. */
  scratch: Uint8Array
  ready(): void
  /** The bytes are `scratch`: they must be used or copied before this returns. */
  read(bytes: Buffer): void
}

/**
 * Opens a connection. `ready` is called when it may be written to: over TLS not before the certificate is verified, so
 * that no key meets a server that could not prove its name. What goes wrong arrives as the socket's error.
 */
function openSocket(origin: Origin, { timeoutMs, scratch, ready, read }: SocketUse): Socket {
  const onread = {
    buffer: scratch,
    callback(length: number, bytes: Uint8Array): boolean {
      read(Buffer.from(bytes.buffer, bytes.byteOffset, length))
      return true
    },
  }
  const socket = origin.isTls
    ? openTls(origin, onread)
    : connect({ host: origin.host, port: origin.port, onread })
  socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_PROBE_MS)
  const timer = setTimeout(() => {
    socket.destroy(new UpstreamError('CONNECT_TIMEOUT', 'The provider could not be reached in time'))
  }, timeoutMs)
  socket.once(origin.isTls ? 'secureConnect' : 'connect', () => {
    clearTimeout(timer)
    ready()
  })
  return socket.once('close', () => clearTimeout(timer))
}

function openTls(origin: Origin, onread: OnReadOpts): TLSSocket {
  const { host, port, session } = origin
  // The types of `tls.connect` do not know the option that its documentation has.
  const options: ConnectionOptions & { onread: OnReadOpts } = {
    host,
    port,
    onread,
    ...tlsOptions(host),
    ...(session ? { session } : {}),
  }
  const socket = connectTls(options)
  // A resumed handshake is not asked for its name again: only sessions of a server that has proven it are kept.
  let ticket: Buffer | undefined
  let isProven = false
  origin.session = undefined
  socket.on('session', (fresh) => {
    ticket = fresh
    if (isProven) origin.session = fresh
  })
  return socket.once('secureConnect', () => {
    isProven = true
    origin.session = ticket ?? session
  })
}
