import type { ServerResponse } from 'node:http'
import type { Attempt } from '../upstream/upstreams.ts'
import { findValue } from './heads/answer-head.ts'

const SAFE_REASON = /^[\t\x20-\x7e\x80-\xff]+$/
/** Of an answer that is cut the client gets this long to read what has left. */
const LAST_BYTES_MS = 5_000

/** The client's side of one answer: as fast as the client reads, and never whole when it is not. */
export class AnswerWriter {
  readonly #response: ServerResponse
  /** What a service may be silent for is no measure of its clients: a slow one drains a full buffer in so many seconds. */
  readonly #patienceMs: number
  #stall: NodeJS.Timeout | undefined
  #isHeadOut = false
  /** Its end is told by something else than the end of the connection. */
  #isFramed = false

  constructor(response: ServerResponse, patienceMs: number) {
    this.#response = response
    this.#patienceMs = patienceMs
  }

  begin(status: number, reason: string, head: string[]): void {
    const response = this.#response
    if (SAFE_REASON.test(reason)) response.writeHead(status, reason, head)
    else response.writeHead(status, head)
    this.#isFramed = response.chunkedEncoding || findValue(head, 'content-length') !== undefined
    // What came with the head leaves with it; a head that is alone leaves by itself.
    process.nextTick(AnswerWriter.#flushLater, this)
  }

  static #flushLater(writer: AnswerWriter): void {
    writer.#flush()
  }

  #flush(): void {
    if (this.#isHeadOut || this.#response.destroyed) return
    this.#isHeadOut = true
    this.#response.flushHeaders()
  }

  /** A reader that is slow makes the service wait; one that stalls for good is cut. */
  write(bytes: Buffer, attempt: Attempt | undefined): void {
    this.#isHeadOut = true
    if (this.#response.write(bytes) || this.#stall) return
    attempt?.pause()
    this.#watch()
    this.#response.once('drain', () => {
      this.stop()
      attempt?.resume()
    })
  }

  /** Trailers are names and values in turn. */
  end(trailers: readonly string[], last?: Buffer): void {
    this.#isHeadOut = true
    this.stop()
    const pairs: [string, string][] = []
    for (let at = 0; at < trailers.length; at += 2) pairs.push([trailers[at] ?? '', trailers[at + 1] ?? ''])
    if (pairs.length > 0 && this.#response.chunkedEncoding) this.#response.addTrailers(pairs)
    this.#response.end(last)
    // The service is done, and nobody else would notice a client that leaves the rest unread and keeps a place of the route.
    if (this.#response.socket?.writableLength) this.#watch()
  }

  #watch(): void {
    this.#stall = setTimeout(() => this.#response.destroy(), this.#patienceMs)
  }

  stop(): void {
    clearTimeout(this.#stall)
    this.#stall = undefined
  }

  /** What has left stays; the client sees that it is not all. */
  cut(): void {
    this.stop()
    const { socket } = this.#response
    // Behind the answers to requests that were sent before it: the connection ends when its turn comes.
    if (!socket) return void this.#response.destroy()
    if (socket.destroyed) return
    if (!this.#isFramed) {
      socket.resetAndDestroy()
      return
    }
    // A turn later: what was written just now is still corked in the response and would be lost.
    process.nextTick(() => socket.destroySoon())
    setTimeout(() => socket.destroy(), LAST_BYTES_MS).unref()
  }
}
