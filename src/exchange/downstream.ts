import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Dialect } from '../dialects/dialect.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import { copyDownward } from '../dialects/headers.ts'
import { GatewayError } from '../errors.ts'
import type { AnswerHeaders } from '../upstream/heads.ts'
import type { Attempt } from '../upstream/upstreams.ts'

/** After an error event the client gets this long to read it. */
const LAST_WORDS_MS = 5_000
const EVENT_STREAM = /^text\/event-stream/i

/** The client's side of one exchange: everything that is written to it passes here. */
export interface Downstream {
  readonly response: ServerResponse
  /** Whether status and headers are on their way. */
  hasBegun(): boolean
  /** Status and headers; `extra` are the gateway's own. */
  begin(status: number, answer: AnswerHeaders, extra: Record<string, string>): void
  write(bytes: Buffer): boolean
  end(bytes?: Buffer): void
  /** An error body while there is still a status to give; afterwards an error event on a stream, and a cut. */
  fail(error: unknown, extra: Record<string, string>): void
  /** Ends the connection without a proper end of the answer. */
  cut(): void
}

/** How errors are written: the entrance's words, handed in by `app.ts`. */
export interface ErrorWriter {
  body(
    error: unknown,
    dialect: Dialect,
    requestId: string,
  ): { status: number; headers: Record<string, string>; body: string }
  /** What is written after the first byte: one event of a stream. */
  event(error: unknown, dialect: Dialect, requestId: string): string
}

export class ClientDownstream implements Downstream {
  readonly response: ServerResponse
  readonly #request: FastifyRequest
  /** What leaves with any answer. */
  readonly #headers: OutgoingHttpHeaders
  readonly #endpoint: Endpoint
  readonly #errors: ErrorWriter
  #isEventStream = false

  constructor(
    request: FastifyRequest,
    reply: FastifyReply,
    { endpoint, errors }: { endpoint: Endpoint; errors: ErrorWriter },
  ) {
    this.response = reply.raw
    this.#request = request
    this.#headers = reply.getHeaders() as OutgoingHttpHeaders
    this.#endpoint = endpoint
    this.#errors = errors
  }

  hasBegun(): boolean {
    return this.response.headersSent
  }

  begin(status: number, answer: AnswerHeaders, extra: Record<string, string>): void {
    const headers = this.#headers
    for (const name in extra) headers[name] = extra[name]
    copyDownward(answer, headers)
    this.#isEventStream = EVENT_STREAM.test(String(headers['content-type']))
    this.response.writeHead(status, headers)
  }

  write(bytes: Buffer): boolean {
    return this.response.write(bytes)
  }

  end(bytes?: Buffer): void {
    this.response.end(bytes)
  }

  fail(error: unknown, extra: Record<string, string>): void {
    const { line, id } = this.#request
    line.error ??= error instanceof GatewayError ? error.code : 'internal_error'
    if (this.response.destroyed) return
    if (!this.response.headersSent) {
      const { status, headers, body } = this.#errors.body(error, this.#endpoint.dialect, id)
      this.response.writeHead(status, { ...this.#headers, ...extra, ...headers })
      this.response.end(body)
      return
    }
    if (this.#isEventStream) this.response.write(this.#errors.event(error, this.#endpoint.dialect, id))
    this.cut()
  }

  cut(): void {
    const { socket } = this.response
    if (!socket || socket.destroyed) return
    // A turn later: what was written just now is still corked in the response and would be lost.
    process.nextTick(() => socket.destroySoon())
    setTimeout(() => socket.destroy(), LAST_WORDS_MS).unref()
  }
}

/** Back-pressure from a slow reader to its provider. */
export class Pressure {
  readonly #response: ServerResponse
  readonly #attempt: Attempt | undefined
  readonly #patienceMs: number
  #stall: NodeJS.Timeout | undefined
  #isUncovered = false

  constructor({ response }: Downstream, attempt: Attempt | undefined, patienceMs: number) {
    this.#response = response
    this.#attempt = attempt
    this.#patienceMs = patienceMs
  }

  /** The client's buffer is full: the provider waits until it has drained; a reader that stalls for good is cut. */
  hold(): void {
    if (this.#stall) return
    this.#attempt?.pause()
    this.#stall = setTimeout(() => this.#response.destroy(), this.#patienceMs)
    this.#response.once('drain', () => {
      this.end()
      if (!this.#isUncovered) this.#attempt?.resume()
    })
  }

  /** All that is held for it may be used: the provider waits until more is known to be covered. */
  holdUncovered(): void {
    if (this.#isUncovered) return
    this.#isUncovered = true
    this.#attempt?.pause()
  }

  covered(): void {
    if (this.#isUncovered && !this.#stall) this.#attempt?.resume()
    this.#isUncovered = false
  }

  end(): void {
    clearTimeout(this.#stall)
    this.#stall = undefined
  }
}
