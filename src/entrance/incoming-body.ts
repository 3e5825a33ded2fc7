import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { invalidRequest } from '../errors.ts'
import { ServerResponse } from '../node-http.ts'

/** Smaller pieces are put together; larger ones pass as they came. */
const FINE_BYTES = 4 * 1024
const BLOCK_BYTES = 16 * 1024
/** This many chunks may be as small as they like: some encoders write a chunk for each word of a JSON text. */
const FREE_CHUNKS = 10_000
/** The least average of more chunks than those: below it a body costs many times what its bytes do. */
const LEAST_AVERAGE_BYTES = 32
/** The same two bounds for what comes when the answer is out and nobody needs the body. */
const FREE_LATE_CHUNKS = 2_000
const LEAST_LATE_AVERAGE_BYTES = 4 * 1024
/** How long a refused client has to read why. */
const FAREWELL_MS = 3_000
/** How long a client that has its answer may go on sending what it asked with. */
const HEARING_MS = 3_000
/** And how much: as long as the longest upload. */
const HEARING_BYTES = 300 * 1024 * 1024
const LOOK_MS = 250

/**
 * Hears the server's event `request` before anybody reads, and puts a chunked body's crumbs together, so that a body of
 * a million chunks is a few pieces to all who read it. Each chunk costs the parser a microsecond or two all the same: a
 * body of hardly anything else is refused, to whoever reads it, and is not read on.
 */
export function gatherChunks(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers['transfer-encoding'] === undefined) return
  const chunks = new FineChunks(request, response)
  request.push = (chunk) => chunks.push(chunk)
  // Node would parse what nobody has read when the answer is out, but push it no more: nobody would count it.
  Reflect.set(request, '_dump', () => request.resume())
}

/**
 * Hears the server's event `checkContinue`: a client that asks whether its body is wanted is told so when somebody begins
 * to read it, and not where it is answered without.
 */
export function askWhenRead(request: IncomingMessage, response: ServerResponse): void {
  const read = request._read
  request._read = (size) => {
    request._read = read
    if (!response.headersSent) response.writeContinue()
    read.call(request, size)
  }
}

class FineChunks {
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #socket: Socket
  readonly #pass: (bytes: Buffer | null) => boolean
  #count = 0
  #bytes = 0
  /** A chunk that is alone passes as it came; of more a block is made. */
  #alone: Buffer | undefined
  #block: Buffer | undefined
  #used = 0
  #isScheduled = false
  #isRefused = false
  #lateCount = 0
  #lateBytes = 0

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request
    this.#response = response
    // A request that is destroyed loses it.
    this.#socket = request.socket
    this.#pass = request.push.bind(request)
  }

  /** This stands in the place of the stream's own `push`: false when it has enough. */
  push(chunk: Buffer | null): boolean {
    if (this.#isRefused) return this.#stop()
    if (chunk === null) {
      this.#flush()
      return this.#pass(null)
    }
    if (this.#response.writableFinished) return this.#drop(chunk)
    this.#count += 1
    this.#bytes += chunk.length
    if (this.#count > FREE_CHUNKS && this.#bytes < this.#count * LEAST_AVERAGE_BYTES) return this.#refuse()
    if (chunk.length < FINE_BYTES) return this.#gather(chunk)
    this.#flush()
    return this.#pass(chunk)
  }

  /** The answer is out, and the rest is heard out: see `createHearingResponse`. */
  #drop(chunk: Buffer): boolean {
    this.#lateCount += 1
    this.#lateBytes += chunk.length
    if (this.#lateCount <= FREE_LATE_CHUNKS) return true
    if (this.#lateBytes >= this.#lateCount * LEAST_LATE_AVERAGE_BYTES) return true
    this.#isRefused = true
    // The connection is not cut: the answer may still be on its way, and a reset would take it along.
    return this.#stop()
  }

  #gather(chunk: Buffer): boolean {
    if (this.#used + chunk.length > BLOCK_BYTES) this.#flush()
    if (this.#used === 0) this.#alone = chunk
    else this.#append(chunk)
    this.#used += chunk.length
    if (!this.#isScheduled) {
      this.#isScheduled = true
      // It runs when all is parsed that was read in this turn: a tick would come after each chunk.
      setImmediate(FineChunks.#flushLater, this)
    }
    const { readableLength, readableHighWaterMark } = this.#request
    return readableLength + this.#used < readableHighWaterMark
  }

  #append(chunk: Buffer): void {
    this.#block ??= Buffer.allocUnsafeSlow(BLOCK_BYTES)
    if (this.#alone) this.#block.set(this.#alone)
    this.#alone = undefined
    this.#block.set(chunk, this.#used)
  }

  static #flushLater(chunks: FineChunks): void {
    chunks.#isScheduled = false
    // The parser was told that there is room, and now there is none.
    if (!chunks.#flush()) chunks.#socket.pause()
  }

  /** A copy without what is not used of the block: a body's memory is its bytes. */
  #flush(): boolean {
    if (this.#used === 0) return true
    const bytes = this.#alone ?? Buffer.from(this.#block?.subarray(0, this.#used) ?? [])
    this.#alone = undefined
    this.#used = 0
    return this.#pass(bytes)
  }

  /** The reader hears of it as of a stream that failed, and answers; where nobody reads any more there is an answer. */
  #refuse(): false {
    this.#isRefused = true
    this.#block = undefined
    setTimeout(() => this.#socket.destroy(), FAREWELL_MS).unref()
    if (this.#request.listenerCount('error') > 0) this.#request.emit('error', tooFine())
    return this.#stop()
  }

  #stop(): false {
    this.#socket.pause()
    return false
  }
}

function tooFine() {
  return invalidRequest(
    `The body came in more than ${FREE_CHUNKS} HTTP chunks of less than ${LEAST_AVERAGE_BYTES} bytes on average; send it in larger ones`,
  )
}

interface Heard {
  request: IncomingMessage
  socket: Socket
  untilMs: number
  /** The bytes are counted on the socket: what is thrown away passes no listener. */
  mostBytesRead: number
}

function hasBody({ headers }: IncomingMessage): boolean {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = headers
  return length !== '0' || coding !== undefined
}

/**
 * The class of a server's responses, one for each server: whoever answers, and however. An answer may be out before its
 * request is in. Closed at once, the connection would be reset under the client's hands and the answer lost (RFC 9112
 * section 9.6); so the rest is read and thrown away, but not for ever: then the connection goes. A class, and not a
 * listener on each response: Node calls `detachSocket` when the last byte of an answer is out, and who answers in time
 * pays nothing for it.
 */
export function createHearingResponse(): typeof ServerResponse {
  const heard = new Set<Heard>()
  let looking: NodeJS.Timeout | undefined
  const look = (): void => {
    const now = performance.now()
    for (const one of heard) if (isOver(one, now)) heard.delete(one)
    if (heard.size > 0) return
    clearInterval(looking)
    looking = undefined
  }
  return class<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
    /** Of an answer that broke off while it waited behind others on its connection, which nobody may read as whole. */
    override assignSocket(socket: Socket): void {
      super.assignSocket(socket)
      if (this.destroyed) socket.destroy()
    }

    override detachSocket(socket: Socket): void {
      super.detachSocket(socket)
      const request = this.req
      if (request.complete || socket.destroyed || !hasBody(request)) return
      const untilMs = performance.now() + HEARING_MS
      heard.add({ request, socket, untilMs, mostBytesRead: socket.bytesRead + HEARING_BYTES })
      looking ??= setInterval(look, LOOK_MS).unref()
      request.resume()
    }
  }
}

function isOver({ request, socket, untilMs, mostBytesRead }: Heard, now: number): boolean {
  if (request.complete || socket.destroyed) return true
  if (now < untilMs && socket.bytesRead <= mostBytesRead) return false
  socket.destroy()
  return true
}

/**
 * Lets an error be read that is written before its request is in: Fastify and Node would close as soon as it is out.
 */
export function hearOut({ raw: request }: FastifyRequest, reply: FastifyReply): void {
  if (!hasBody(request) || request.complete || request.destroyed) return
  const { socket } = request
  const { raw: response } = reply
  // Fastify asks for a close where it could not read a body.
  reply.removeHeader('connection')
  const mustClose = !response.shouldKeepAlive
  response.shouldKeepAlive = true
  if (mustClose)
    request.once('end', () => {
      if (response.writableFinished) socket.destroySoon()
      else response.once('finish', () => socket.destroySoon())
    })
  request.resume()
}
