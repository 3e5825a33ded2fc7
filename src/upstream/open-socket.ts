import { connect, type OnReadOpts, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
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

/** What becomes of a connection. */
interface SocketUse {
  timeoutMs: number
  /** Where every read lands, and who is told of it. */
  onread: OnReadOpts
  ready(): void
}

/**
 * Opens a connection. `ready` is called when it may be written to: over TLS not before the certificate is verified, so
 * that no key meets a server that could not prove its name. What goes wrong arrives as the socket's error.
 */
export function openSocket(origin: Origin, { timeoutMs, onread, ready }: SocketUse): Socket {
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
