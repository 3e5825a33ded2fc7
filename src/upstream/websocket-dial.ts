import { createHash, randomBytes } from 'node:crypto'
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, RequestOptions } from 'node:http'
import { request as secure } from 'node:https'
import type { Socket } from 'node:net'
import { request as plain } from '../node-http.ts'
import { openThrough } from './open-socket.ts'
import { ownFaultBehind } from './own-fault.ts'
import {
  MAX_HEAD_BYTES,
  TLS_RULES,
  UpstreamError,
  type UpstreamErrorCode,
  type UpstreamTimeouts,
} from './rules.ts'
import { type OutgoingProxy, type ProxyFor, type Target, targetOf } from './tunnel.ts'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const MAX_REFUSAL_BYTES = 64 * 1024

export interface DialTarget {
  /** `http:` or `https:`, as the upstream's handshake is HTTP. */
  url: URL
  /** Path and query as they are sent, byte for byte, where those of a URL would be written anew. */
  path?: string
  /** As a list names and values in turn. What makes it a handshake, and `host`, is added. */
  headers: Record<string, string> | readonly string[]
  /** What is offered; the upstream chooses one or none. */
  protocols: readonly string[]
}

/** How an upstream is reached, and how long that may take. */
export interface DialRules extends Pick<UpstreamTimeouts, 'connectTimeoutMs' | 'firstByteTimeoutMs'> {
  proxyFor?: ProxyFor | undefined
}

/** The socket of an upgraded connection, and the first bytes that came with the handshake. */
export interface UpgradedEnd {
  socket: Socket
  head: Buffer
}

/** The upstream's own HTTP answer instead of an upgrade. */
export interface Refusal {
  status: number
  headers: IncomingHttpHeaders
  rawHeaders: readonly string[]
  /** Undefined: it is too long. */
  body: Buffer | undefined
}

export type Dialed =
  | { kind: 'open'; end: UpgradedEnd; protocol: string | undefined; rawHeaders: readonly string[] }
  | { kind: 'refused'; refusal: Refusal }
  /** `wasSent`: a connection stood, so the upstream may have read the handshake. */
  | { kind: 'failed'; error: Error; wasSent: boolean }

export interface Dial {
  result: Promise<Dialed>
  /** Gives it up; a socket that stands already is closed. */
  abort(): void
}

/** The value that proves that the other side read our key (RFC 6455 section 4.2.2). */
export function acceptOf(key: string): string {
  return createHash('sha1')
    .update(key + GUID)
    .digest('base64')
}

/**
 * One handshake with one upstream; redirects are not followed. It leaves by Node's own client and not by `Upstreams`,
 * whose connections carry one request after the other and never change hands, as an upgraded one does.
 */
export function dialWebsocket(target: DialTarget, rules: DialRules): Dial {
  const key = randomBytes(16).toString('base64')
  const { request, giveUp } = open(target, key, rules)
  const result = new Promise<Dialed>((resolve) => {
    const patience = watchTime(request, rules)
    const finish = (dialed: Dialed): void => {
      patience.end()
      resolve(dialed)
    }
    const fail = (error: Error): void =>
      finish({
        kind: 'failed',
        error: patience.ranOut() ?? ownFaultBehind(error),
        wasSent: patience.isConnected(),
      })
    request.once('error', fail)
    const hungUp = (): void =>
      fail(new UpstreamError('CLOSED_EARLY', 'The upstream hung up during the handshake'))
    request.once('close', hungUp)
    request.once('response', (answer) => {
      // The request may be closed before the refusal has been read; whether that came whole is the answer's to say.
      request.off('close', hungUp)
      readRefusal(answer).then((refusal) => finish({ kind: 'refused', refusal }), fail)
    })
    request.once('upgrade', (answer, socket, head) => {
      // A reset is only the end of this socket from here on.
      socket.on('error', () => socket.destroy())
      const mistake = findMistake(answer, key, target.protocols)
      if (mistake === undefined) {
        const protocol = answer.headers['sec-websocket-protocol']
        const { rawHeaders } = answer
        return finish({ kind: 'open', end: { socket: socket as Socket, head }, protocol, rawHeaders })
      }
      socket.destroy()
      fail(new UpstreamError('BAD_ANSWER', mistake))
    })
    request.end()
  })
  const abort = (): void => {
    giveUp()
    void result.then((dialed) => dialed.kind === 'open' && dialed.end.socket.destroy())
  }
  return { result, abort }
}

/** A list, since an object would join or drop what a client sent twice; Node adds no `host` to one. */
function writeHeaders({ url, headers, protocols }: DialTarget, key: string): readonly string[] {
  return [
    'host',
    url.host,
    ...(Array.isArray(headers) ? headers : Object.entries(headers).flat()),
    ...(protocols.length > 0 ? ['sec-websocket-protocol', protocols.join(', ')] : []),
    ...['connection', 'Upgrade', 'upgrade', 'websocket'],
    ...['sec-websocket-version', '13', 'sec-websocket-key', key],
  ]
}

function open(dialed: DialTarget, key: string, rules: DialRules): Opened {
  const { url, path } = dialed
  const target = targetOf(url)
  const proxy = rules.proxyFor?.(target)
  const options: RequestOptions = {
    // A connection of its own, for as long as the socket lives.
    agent: false,
    maxHeaderSize: MAX_HEAD_BYTES,
    headers: writeHeaders(dialed, key),
    ...(path === undefined ? {} : { path }),
  }
  const send = target.isTls ? secure : plain
  if (proxy) return openThroughProxy((way) => send(url, { ...options, ...way }), { proxy, target, rules })
  const request = send(url, target.isTls ? { ...options, ...TLS_RULES } : options)
  return { request, giveUp: () => request.destroy() }
}

interface Opened {
  request: ClientRequest
  giveUp(): void
}

interface Through {
  proxy: OutgoingProxy
  target: Target
  rules: DialRules
}

/** Only a request without an agent takes a connection that is made for it; until that stands, to destroy it ends nothing. */
function openThroughProxy(
  send: (way: RequestOptions) => ClientRequest,
  { proxy, target, rules }: Through,
): Opened {
  let abort = (): void => {}
  const request = send({
    agent: undefined,
    createConnection(_options, done) {
      abort = openThrough(proxy, target, rules.connectTimeoutMs, (error, socket) => {
        if (socket) done(null, socket)
        else Reflect.apply(done, undefined, [error])
      })
      return undefined
    },
  })
  const giveUp = (): void => {
    abort()
    request.destroy()
  }
  return { request, giveUp }
}

/** The connection has one limit, its answer another. */
function watchTime(request: ClientRequest, timeouts: DialRules) {
  let error: UpstreamError | undefined
  let isConnected = false
  const expire = (code: UpstreamErrorCode) => (): void => {
    error = new UpstreamError(code, 'The handshake was not answered in time')
    request.destroy()
  }
  let timer = setTimeout(expire('CONNECT_TIMEOUT'), timeouts.connectTimeoutMs)
  const connected = (): void => {
    if (error) return
    isConnected = true
    clearTimeout(timer)
    timer = setTimeout(expire('FIRST_BYTE_TIMEOUT'), timeouts.firstByteTimeoutMs)
  }
  request.once('socket', (socket) => {
    // One that came through a proxy stands already.
    if (socket.connecting) socket.once('encrypted' in socket ? 'secureConnect' : 'connect', connected)
    else connected()
  })
  return { end: () => clearTimeout(timer), ranOut: () => error, isConnected: () => isConnected }
}

async function readRefusal(answer: IncomingMessage): Promise<Refusal> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of answer) {
    parts.push(part)
    bytes += part.length
    if (bytes > MAX_REFUSAL_BYTES) break
  }
  const body = bytes > MAX_REFUSAL_BYTES ? undefined : Buffer.concat(parts)
  const { statusCode: status = 502, headers, rawHeaders } = answer
  return { status, headers, rawHeaders, body }
}

function findMistake(
  { headers, statusCode }: IncomingMessage,
  key: string,
  offered: readonly string[],
): string | undefined {
  if (statusCode !== 101 || headers.upgrade?.toLowerCase() !== 'websocket') return 'no upgrade to websocket'
  if (headers['sec-websocket-accept'] !== acceptOf(key)) return 'wrong Sec-WebSocket-Accept'
  if (headers['sec-websocket-extensions'] !== undefined) return 'an extension that nobody offered'
  const protocol = headers['sec-websocket-protocol']
  if (protocol !== undefined && !offered.includes(protocol)) return 'a subprotocol that nobody offered'
  return undefined
}
