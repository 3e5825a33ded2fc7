import { connect, type OnReadOpts, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { ownFaultBehind } from './own-fault.ts'
import { tlsOptions, UpstreamError } from './rules.ts'
import {
  type OutgoingProxy,
  openTunnel,
  type ProxyFor,
  type Target,
  type TunnelDone,
  targetOf,
} from './tunnel.ts'

/** Where a provider or a service listens, and how it is reached. */
export interface Origin extends Target {
  /** The `host` header: with the port, when it is not the scheme's own. */
  authority: string
  /** The TLS session of the last connection (RFC 8446 section 2.2): the next handshake is shorter. */
  session: Buffer | undefined
  /** As it is at this moment: its password may change. */
  proxy(): OutgoingProxy | undefined
}

/** Probes of an idle connection by the kernel: a firewall that forgot it is noticed before a request is lost in it. */
const KEEP_ALIVE_PROBE_MS = 30_000

export function readOrigin(origin: string, proxyFor?: ProxyFor): Origin {
  const url = new URL(origin)
  const target = targetOf(url)
  return { ...target, authority: url.host, session: undefined, proxy: () => proxyFor?.(target) }
}

/** What becomes of a connection. */
interface SocketUse {
  timeoutMs: number
  /** Where every read lands, and who is told of it. */
  onread: OnReadOpts
  /** It may be written to. */
  ready(socket: Socket): void
  /** The other side has closed its own. */
  hungUp(): void
  /** It is over: once, in a later turn. */
  closed(reason: Error | undefined): void
}

/**
 * Opens a connection. `ready` is called when it may be written to: over TLS not before the certificate is verified, so
 * that no key meets a server that could not prove its name.
 */
export function openSocket(origin: Origin, use: SocketUse): { destroy(): void } {
  const { timeoutMs, onread, ready } = use
  const proxy = origin.proxy()
  if (proxy) return openFarSocket(origin, proxy, use)
  const socket = origin.isTls
    ? openTls(origin, { host: origin.host, port: origin.port, onread })
    : connect({ host: origin.host, port: origin.port, onread })
  socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_PROBE_MS)
  const timer = setTimeout(() => socket.destroy(lateError()), timeoutMs)
  socket.once(origin.isTls ? 'secureConnect' : 'connect', () => {
    clearTimeout(timer)
    ready(socket)
  })
  socket.once('close', () => clearTimeout(timer))
  watch(socket, use)
  return socket
}

function watch(socket: Socket, { hungUp, closed }: SocketUse): void {
  let reason: Error | undefined
  hearLastWords(socket)
  socket
    .once('end', hungUp)
    .once('error', (error) => {
      reason = ownFaultBehind(error)
    })
    .once('close', () => closed(reason))
}

/**
 * Who is sent a large body may answer and hang up before it has come. The next write then fails, and with the socket Node
 * throws away the answer that has arrived and was not read yet: a service's 413 would nearly always be lost. So a write that
 * fails ends the socket only when a turn has brought nothing more; behind a reset nothing new can come.
 */
function hearLastWords(socket: Socket): void {
  const destroy = socket.destroy
  let isFailing = false
  const look = (error: Error, seenBytes: number): void => {
    if (socket.destroyed) return
    if (socket.bytesRead === seenBytes) return void destroy.call(socket, error)
    hear(error)
  }
  const hear = (error: Error): void => {
    // What a slow reader has not asked for yet is not lost either.
    if (socket.isPaused()) socket.once('resume', () => hear(error))
    // By the second one, whatever is there has been read.
    else setImmediate(setImmediate, look, error, socket.bytesRead)
  }
  socket.destroy = (error) => {
    if (error === undefined || Reflect.get(error, 'syscall') !== 'write') return destroy.call(socket, error)
    if (!isFailing) hear(error)
    isFailing = true
    return socket
  }
}

/** Node knows `onread` only for sockets that connect by themselves: here each read has a buffer of its own. */
function openFarSocket(origin: Origin, proxy: OutgoingProxy, use: SocketUse): { destroy(): void } {
  const { timeoutMs, onread, ready, closed } = use
  let far: Socket | undefined
  const abort = openThrough(proxy, origin, timeoutMs, (error, socket) => {
    if (!socket) return void process.nextTick(closed, error)
    far = socket
    watch(socket, use)
    socket.on('data', (bytes: Buffer) => onread.callback(bytes.length, bytes))
    ready(socket)
  })
  return { destroy: () => (far ? far.destroy() : abort()) }
}

/**
 * Opens a connection through a proxy, ready to be written to, over TLS to the target where it speaks that. `done` is called
 * once, also when it is given up by the function that is returned.
 */
export function openThrough(
  proxy: OutgoingProxy,
  target: Target & { session?: Buffer | undefined },
  timeoutMs: number,
  done: TunnelDone,
): () => void {
  let abort: (why: Error) => void
  const timer = setTimeout(() => abort(lateError()), timeoutMs)
  let isOver = false
  const finish: TunnelDone = (error, socket) => {
    if (isOver) return
    isOver = true
    clearTimeout(timer)
    done(error, socket)
  }
  abort = openTunnel(proxy, target, (error, tunnel) => {
    if (!tunnel) return finish(error)
    tunnel.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_PROBE_MS)
    if (!target.isTls) return finish(undefined, tunnel)
    const socket = openTls(target, { socket: tunnel })
    const fail = (why?: unknown): void => finish(why instanceof Error ? why : lostError())
    abort = (why) => socket.destroy(why)
    socket
      .once('error', fail)
      .once('close', fail)
      .once('secureConnect', () => {
        socket.off('error', fail).off('close', fail)
        finish(undefined, socket)
      })
  })
  return () => {
    if (!isOver) abort(lostError())
  }
}

function lostError() {
  return new UpstreamError('CLOSED_EARLY', 'The connection to the provider was lost')
}

function lateError() {
  return new UpstreamError('CONNECT_TIMEOUT', 'The provider could not be reached in time')
}

/** The types of `tls.connect` do not know the option that its documentation has. */
type TlsWay = ConnectionOptions & { onread?: OnReadOpts }

function openTls(target: { host: string; session?: Buffer | undefined }, way: TlsWay): TLSSocket {
  const { host, session } = target
  const socket = connectTls({ ...way, ...tlsOptions(host), ...(session ? { session } : {}) })
  // A resumed handshake is not asked for its name again: only sessions of a server that has proven it are kept.
  let ticket: Buffer | undefined
  let isProven = false
  target.session = undefined
  socket.on('session', (fresh) => {
    ticket = fresh
    if (isProven) target.session = fresh
  })
  return socket.once('secureConnect', () => {
    isProven = true
    target.session = ticket ?? session
  })
}
