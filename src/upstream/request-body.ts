import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { UpstreamError } from './rules.ts'
import { keepTrailers } from './trailers.ts'

/** What is sent: bytes, pieces of bytes, or a stream, whose length is known or not. */
export interface RequestBody {
  body: Buffer | Readable | readonly Buffer[]
  /** The body's bytes; needed for pieces, and for a stream that is to go without chunks. */
  length: number | undefined
}

/** One write: the most that lies in the socket's queue beside the body itself. Over TLS so much is encrypted at once. */
const WRITE_BYTES = 256 * 1024
/** Copied to go with others only below this. */
const LARGE_BYTES = 16 * 1024
const EMPTY: Buffer = Buffer.alloc(0)

/** A body on its way. */
export interface Sending {
  /** Everything is handed to the socket. */
  isDone(): boolean
  /** Everything that is there has left: it is the stream's turn, not the other side's. */
  awaitsSource(): boolean
  /** Lets go of a stream that is no longer wanted: it is paused, and its owner's. */
  stop(): void
}

/** It is called at each piece that leaves, and with the error of a stream that fails. */
export interface SendListener {
  progress(): void
  bodyFailed(error: Error): void
}

/** A large body, as fast as the provider takes it, in writes that are neither tiny nor many at once. */
export class PieceSender implements Sending {
  readonly #socket: Socket
  readonly #listener: SendListener
  #pieces: readonly Buffer[]
  /** What is sent of them: whole pieces, and bytes of the next one. */
  #sent = 0
  #sentOfNext = 0

  constructor(socket: Socket, head: string, pieces: readonly Buffer[], listener: SendListener) {
    this.#socket = socket
    this.#pieces = pieces
    this.#listener = listener
    socket.cork()
    socket.write(head, 'latin1')
    socket.on('drain', this.#goOn)
    this.#send()
    socket.uncork()
  }

  isDone(): boolean {
    return this.#sent >= this.#pieces.length
  }

  awaitsSource(): boolean {
    return false
  }

  stop(): void {
    this.#socket.off('drain', this.#goOn)
    this.#pieces = []
  }

  readonly #goOn = (): void => {
    this.#listener.progress()
    this.#send()
  }

  #send(): void {
    while (!this.isDone()) if (!this.#socket.write(this.#next())) break
    if (this.isDone()) this.#socket.off('drain', this.#goOn)
  }

  /** A part of a large piece as it is, or the small ones before the next large one in a copy. */
  #next(): Buffer {
    if (this.#rest().length >= LARGE_BYTES) return this.#take(WRITE_BYTES)
    const parts: Buffer[] = []
    let room = WRITE_BYTES
    do {
      const part = this.#take(room)
      parts.push(part)
      room -= part.length
    } while (room > 0 && !this.isDone() && this.#rest().length < LARGE_BYTES)
    return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts)
  }

  #take(mostBytes: number): Buffer {
    const part = this.#rest().subarray(0, mostBytes)
    this.#sentOfNext += part.length
    if (this.#sentOfNext >= (this.#pieces[this.#sent]?.length ?? 0)) {
      this.#sent += 1
      this.#sentOfNext = 0
    }
    return part
  }

  #rest(): Buffer {
    return (this.#pieces[this.#sent] ?? EMPTY).subarray(this.#sentOfNext)
  }
}

interface Source extends RequestBody {
  body: Readable
  listener: SendListener
  /** Asked at the end of a body in chunks. */
  trailers?: (() => readonly string[]) | undefined
  /** Nothing of it leaves before `release`. */
  isHeld?: boolean
}

/** A stream, as fast as the other side takes it; without a length it goes in chunks. */
export class StreamSender implements Sending {
  readonly #socket: Socket
  readonly #source: Source
  #sent = 0
  /** `held`: not begun; `blocked`: the socket is full. */
  #state: 'held' | 'flowing' | 'blocked' | 'done' | 'left' = 'held'

  constructor(socket: Socket, head: string, source: Source) {
    this.#socket = socket
    this.#source = source
    socket.write(head, 'latin1')
    source.body.once('error', this.#fail).once('close', this.#closed)
    if (!source.isHeld) this.release()
  }

  /** The body may leave. */
  release(): void {
    if (this.#state !== 'held') return
    this.#state = 'flowing'
    const { body } = this.#source
    // Neither event would come a second time.
    if (body.readableEnded) return this.#end()
    if (body.destroyed) return this.#closed()
    this.#socket.on('drain', this.#drained)
    body.on('data', this.#send).once('end', this.#end)
    body.resume()
  }

  isDone(): boolean {
    return this.#state === 'done'
  }

  awaitsSource(): boolean {
    return this.#state === 'flowing'
  }

  stop(): void {
    if (this.#state === 'done' || this.#state === 'left') return
    this.#leave('left')
    this.#source.body.pause()
  }

  readonly #drained = (): void => {
    if (this.#state !== 'blocked') return
    this.#state = 'flowing'
    this.#source.body.resume()
    this.#source.listener.progress()
  }

  readonly #send = (chunk: Buffer): void => {
    const { body, length, listener } = this.#source
    // In chunks, nothing would be the end; and whoever heard this piece first may have stopped it.
    if (chunk.length === 0 || this.#state === 'left') return
    this.#sent += chunk.length
    if (length !== undefined && this.#sent > length) return this.#fail(mismatch())
    if (!this.#write(chunk)) {
      this.#state = 'blocked'
      body.pause()
    }
    listener.progress()
  }

  #write(chunk: Buffer): boolean {
    const socket = this.#socket
    if (this.#source.length !== undefined) return socket.write(chunk)
    socket.cork()
    socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
    socket.write(chunk)
    const hasRoom = socket.write('\r\n', 'latin1')
    socket.uncork()
    return hasRoom
  }

  readonly #end = (): void => {
    const { length, listener, trailers } = this.#source
    if (length !== undefined && this.#sent !== length) return this.#fail(mismatch())
    if (length === undefined) this.#socket.write(lastChunk(trailers?.() ?? []), 'latin1')
    this.#leave('done')
    listener.progress()
  }

  readonly #closed = (): void => {
    this.#fail(new UpstreamError('BODY_MISMATCH', 'The body to send ended early'))
  }

  readonly #fail = (error: Error): void => {
    this.#leave('left')
    this.#source.listener.bodyFailed(error)
  }

  #leave(state: 'done' | 'left'): void {
    this.#state = state
    const { body } = this.#source
    this.#socket.off('drain', this.#drained)
    body.off('data', this.#send).off('end', this.#end).off('close', this.#closed).off('error', this.#fail)
    // A stream that was let go of may still fail.
    body.on('error', () => {})
  }
}

/** The end of a body in chunks, and what is said behind it. */
function lastChunk(trailers: readonly string[]): string {
  const kept = keepTrailers(trailers)
  let text = '0\r\n'
  for (let index = 0; index < kept.length; index += 2) text += `${kept[index]}: ${kept[index + 1]}\r\n`
  return `${text}\r\n`
}

function mismatch() {
  return new UpstreamError('BODY_MISMATCH', 'The body to send is not as long as announced')
}
