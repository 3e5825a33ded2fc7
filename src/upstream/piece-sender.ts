import type { Socket } from 'node:net'
import type { Sending, SendListener } from './request-body.ts'

/** One write: the most that lies in the socket's queue beside the body itself. Over TLS so much is encrypted at once. */
const WRITE_BYTES = 256 * 1024
/** Copied to go with others only below this. */
const LARGE_BYTES = 16 * 1024

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

const EMPTY: Buffer = Buffer.alloc(0)
