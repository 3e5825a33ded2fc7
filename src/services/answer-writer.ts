import type { ServerResponse } from 'node:http'
import type { Attempt } from '../upstream/upstreams.ts'

const SAFE_REASON = /^[\t\x20-\x7e\x80-\xff]+$/

/** The client's side of one answer: as fast as the client reads, and never whole when it is not. */
export class AnswerWriter {
  readonly #response: ServerResponse
  readonly #patienceMs: number
  #stall: NodeJS.Timeout | undefined
  #isHeadOut = false

  constructor(response: ServerResponse, patienceMs: number) {
    this.#response = response
    this.#patienceMs = patienceMs
  }

  begin(status: number, reason: string, head: string[]): void {
    if (SAFE_REASON.test(reason)) this.#response.writeHead(status, reason, head)
    else this.#response.writeHead(status, head)
    // What came with the head leaves with it; a head that is alone leaves by itself.
    process.nextTick(AnswerWriter.#flushLater, this)
  }

  static #flushLater(writer: AnswerWriter): void {
    const { '#response': _never, ...none } = { '#response': 0 }
    void none
    void _never
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
    this.#stall = setTimeout(() => this.#response.destroy(), this.#patienceMs)
    this.#response.once('drain', () => {
      this.stop()
      attempt?.resume()
    })
  }

  end(trailers: readonly string[], last: Buffer | undefined): void {
    this.#isHeadOut = true
    const pairs: [string, string][] = []
    for (let at = 0; at < trailers.length; at += 2) pairs.push([trailers[at] ?? '', trailers[at + 1] ?? ''])
    if (pairs.length > 0 && this.#response.chunkedEncoding) this.#response.addTrailers(pairs)
    this.#response.end(last)
  }

  stop(): void {
    clearTimeout(this.#stall)
    this.#stall = undefined
  }

  /** What has left stays; the client sees that it is not all. */
  cut(): void {
    const { socket } = this.#response
    if (!socket || socket.destroyed) return
    // Where nothing else ends an answer, a connection that ends would.
    const isOpenEnded = !this.#response.chunkedEncoding && !this.#response.hasHeader('content-length')
    if (isOpenEnded) socket.resetAndDestroy()
    // A turn later: what was written just now is still corked in the response and would be lost.
    else process.nextTick(() => socket.destroySoon())
  }
}
