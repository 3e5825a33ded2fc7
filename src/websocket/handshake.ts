import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { ServerResponse } from '../node-http.ts'

/** How long a refused client may take to close its side: then its socket is gone all the same. */
const FAREWELL_MS = 800
/** How much of what a refused client goes on sending is read and thrown away; the rest stays in its own hands. */
const MOST_UNHEARD_BYTES = 64 * 1024

/** Every handshake that is neither accepted nor over; one per app. */
export interface Handshakes {
  /** Where `@fastify/websocket` hears of upgrades, in the place of the server. */
  readonly inlet: EventEmitter
  /** A route takes it over, which has limits of its own for what it asks of others. */
  extend(raw: IncomingMessage): void
  /** The socket has a new owner. */
  accept(raw: IncomingMessage): void
}

declare module 'fastify' {
  interface FastifyInstance {
    handshakes: Handshakes
  }
}

export interface HandshakeOptions {
  /** How long it may take until a route takes the request over. */
  timeoutMs: number
  /** How long the route may take until it accepts or refuses. */
  routeTimeoutMs: number
  /** Answers a client whose refusal did not come in time. */
  answerLate(socket: Socket): void
  /** Answers a client that did not wait for an answer before its handshake. */
  answerEarly(socket: Socket): void
}

/**
 * Fastify's `http` options ask this: only handshakes leave HTTP, whatever else asks for it (h2c) is answered as if it
 * had not.
 */
export function shouldUpgrade(this: Server, raw: IncomingMessage): boolean {
  if (isHandshake(raw)) return true
  // It follows at once, and Node loses what came in one piece with it; who asks for h2c waits for the answer first.
  if (raw.method === 'GET' && raw.headers.upgrade?.toLowerCase() !== 'h2c')
    this.prependOnceListener('request', (_request, response) => {
      response.shouldKeepAlive = false
    })
  return false
}

function isHandshake({ method, headers, httpVersion }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    // A body would stand between the handshake and its answer.
    headers['transfer-encoding'] === undefined &&
    Number(headers['content-length'] ?? 0) === 0
  )
}

/**
 * The one owner of the server's event `upgrade`: from the first byte until somebody accepts, the socket is a handshake's,
 * and no hook, route or package can let it go without an answer and an end. Node itself has let go of it before.
 */
export function ownUpgrades(app: FastifyInstance, options: HandshakeOptions): void {
  const inlet = new EventEmitter()
  const open = new Map<IncomingMessage, Handshake>()
  app.decorate('handshakes', {
    inlet,
    extend: (raw) => open.get(raw)?.wait(options.routeTimeoutMs),
    accept: (raw) => {
      open.get(raw)?.accept()
      open.delete(raw)
    },
  })
  app.server.on('upgrade', (raw: IncomingMessage, stream: Duplex, head: Buffer) => {
    // Nothing else comes without a body, see above.
    if (!(stream instanceof Socket) || stream.destroyed) return void stream.destroy()
    const earlier = answerOn(stream)
    if (earlier) return answerBehind(stream, earlier, options)
    const handshake = new Handshake(stream, options)
    open.set(raw, handshake)
    stream.once('close', () => open.delete(raw))
    if (!inlet.emit('upgrade', raw, stream, head)) handshake.giveUp()
  })
  // The package leads an upgrade to the router through here alone: no hook has seen it yet.
  const route = app.routing
  app.routing = (raw, response) => {
    open.get(raw)?.watch(response)
    route(raw, response)
  }
  // Nothing else ends them when the server closes.
  app.addHook('preClose', async () => {
    for (const handshake of open.values()) handshake.giveUp()
  })
}

/** What a connection is still busy with: Node hands a handshake out that came behind it, before it is answered. */
function answerOn(socket: Socket): ServerResponse | undefined {
  const answer: unknown = Reflect.get(socket, '_httpMessage')
  return answer instanceof ServerResponse ? answer : undefined
}

/** Two answers at once would corrupt each other: it is refused when all that came before it is answered. */
function answerBehind(socket: Socket, earlier: ServerResponse, options: HandshakeOptions): void {
  const drained = (): void => void earlier.emit('drain')
  socket.on('error', () => socket.destroy())
  // Node listens no longer for it.
  socket.on('drain', drained)
  earlier.once('close', () => {
    socket.off('drain', drained)
    const next = answerOn(socket)
    if (next) return answerBehind(socket, next, options)
    if (!socket.destroyed) new Handshake(socket, options).refuse(options.answerEarly)
  })
}

/** One handshake, from its head to its acceptance or to the end of its socket. */
class Handshake {
  readonly #socket: Socket
  readonly #options: HandshakeOptions
  #timer: NodeJS.Timeout | undefined
  #isAnswered = false
  #response: ServerResponse | undefined

  constructor(socket: Socket, options: HandshakeOptions) {
    this.#socket = socket
    this.#options = options
    socket.on('error', () => socket.destroy())
    socket.once('close', () => clearTimeout(this.#timer))
    this.wait(options.timeoutMs)
  }

  wait(ms: number): void {
    if (this.#isAnswered || this.#socket.destroyed) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.giveUp(), ms).unref()
  }

  /** Whatever it says, it is the last on this connection. */
  watch(response: ServerResponse): void {
    this.#response = response
    response.shouldKeepAlive = false
    response.once('prefinish', () => this.#takeLeave())
    response.once('finish', () => {
      this.#socket.end()
      // Node does the same with an answer that is out: whoever waits for its end need not wait for the client's.
      response.detachSocket(this.#socket)
      process.nextTick(() => response.emit('close'))
    })
  }

  /** No answer of HTTP stands on this connection any more; who waits for the end of this one means the connection's. */
  accept(): void {
    this.#isAnswered = true
    clearTimeout(this.#timer)
    const response = this.#response
    if (!response || this.#socket.destroyed) return
    response.detachSocket(this.#socket)
    this.#socket.once('close', () => response.emit('close'))
  }

  giveUp(): void {
    this.refuse(this.#options.answerLate)
  }

  refuse(answer: (socket: Socket) => void): void {
    if (this.#isAnswered || this.#socket.destroyed) return
    this.#takeLeave()
    answer(this.#socket)
  }

  /** The answer is on its way. Closed over unread bytes, the connection would be reset and the answer lost. */
  #takeLeave(): void {
    const socket = this.#socket
    if (this.#isAnswered) return
    this.#isAnswered = true
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => socket.destroy(), FAREWELL_MS).unref()
    let unheard = 0
    socket.on('data', (chunk: Buffer) => {
      unheard += chunk.length
      if (unheard > MOST_UNHEARD_BYTES) socket.pause()
    })
  }
}
