import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Dialect } from '../config/models.ts'
import { GatewayError } from '../errors.ts'
import type { Endpoint } from '../routing/endpoints.ts'
import { copyDownward } from './headers.ts'

/** After an error event the client gets this long to read it. */
const LAST_WORDS_MS = 5_000

/** The client's side of one exchange: everything that is written to it passes here. */
export interface Downstream {
  readonly response: ServerResponse
  /** Whether status and headers are on their way. A method: a getter per object would outlive it for long (V8). */
  hasBegun(): boolean
  /** Status and headers; `extra` are the gateway's own. */
  begin(status: number, answer: IncomingHttpHeaders, extra: Record<string, string>): void
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
  /** After the first byte: one event of a stream. */
  event(error: unknown, kind: Endpoint['errorEvents'], requestId: string): string
}

export const createDownstream = (
  request: FastifyRequest,
  reply: FastifyReply,
  endpoint: Endpoint,
  errors: ErrorWriter,
): Downstream => {
  const response = reply.raw
  const own = { ...reply.getHeaders(), 'x-request-id': request.id } as OutgoingHttpHeaders
  let isEventStream = false

  const cut = (): void => {
    const { socket } = response
    if (!socket || socket.destroyed) return
    // A turn later: what was written just now is still corked in the response and would be lost.
    process.nextTick(() => socket.destroySoon())
    setTimeout(() => socket.destroy(), LAST_WORDS_MS).unref()
  }

  return {
    response,
    hasBegun: () => response.headersSent,
    begin(status, answer, extra) {
      const headers: OutgoingHttpHeaders = { ...own, ...extra }
      copyDownward(answer, headers)
      isEventStream = /^text\/event-stream/i.test(String(headers['content-type']))
      response.writeHead(status, headers)
    },
    write: (bytes) => response.write(bytes),
    end: (bytes) => response.end(bytes),
    cut,
    fail(error, extra) {
      request.line.error ??= error instanceof GatewayError ? error.code : 'internal_error'
      if (response.destroyed) return
      if (!response.headersSent) {
        const { status, headers, body } = errors.body(error, endpoint.dialect, request.id)
        response.writeHead(status, { ...own, ...extra, ...headers })
        response.end(body)
        return
      }
      if (isEventStream) response.write(errors.event(error, endpoint.errorEvents, request.id))
      cut()
    },
  }
}
