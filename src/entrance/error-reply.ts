import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { explainMissing } from '../dialects/addresses.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { dialectOfHeaders, dialectOfUrl } from '../dialects/headers.ts'
import { openaiChat } from '../dialects/openai-chat.ts'
import { codeOf, type GatewayError, internalError, invalidRequest, notFound } from '../errors.ts'
import { STATUS_CODES } from '../node-http.ts'
import { hearOut } from './incoming-body.ts'
import { readError } from './known-errors.ts'

export interface ErrorAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

const JSON_TYPE = 'application/json; charset=utf-8'

function buildHeaders(error: GatewayError): Record<string, string> {
  const headers: Record<string, string> = {
    'content-type': JSON_TYPE,
    'x-should-retry': String(error.passing),
  }
  if (error.challenge !== undefined) headers['www-authenticate'] = error.challenge
  if (error.retryAfterMs === undefined) return headers
  headers['retry-after'] = String(Math.ceil(error.retryAfterMs / 1000))
  headers['retry-after-ms'] = String(Math.ceil(error.retryAfterMs))
  return headers
}

/** Any thrown thing as a whole answer; what a client must not see is left out. */
export function writeErrorBody(error: unknown, dialect: Dialect, requestId: string): ErrorAnswer {
  const known = readError(error) ?? internalError('The gateway failed. Try again later.')
  const status = dialect.errorStatus(known)
  return { status, headers: buildHeaders(known), body: dialect.errorBody(known, requestId) }
}

/** The event that ends a stream which cannot be completed. */
export function streamErrorEvent(error: unknown, dialect: Dialect, requestId: string): string {
  return dialect.errorEvent(
    readError(error) ?? internalError('The gateway failed. Try again later.'),
    requestId,
  )
}

/** Whether an answer is already under way on this connection: another one inside it would corrupt it. */
function isAnswering(socket: Socket): boolean {
  const answer: unknown = Reflect.get(socket, '_httpMessage')
  return typeof answer === 'object' && answer !== null && Reflect.get(answer, 'headersSent') === true
}

/** Fastify's option of this name: it hears of bytes that are no HTTP request, or that came too slowly. */
export function clientErrorHandler(failure: Error, socket: Socket): void {
  if (
    socket.destroyed ||
    !socket.writable ||
    Reflect.get(failure, 'code') === 'ECONNRESET' ||
    isAnswering(socket)
  ) {
    socket.destroy()
    return
  }
  const error = readError(failure) ?? invalidRequest('The request is not valid HTTP.')
  const { status, headers, body } = writeErrorBody(error, openaiChat, '')
  // No request was made of these bytes, so nobody gave them an id.
  const id = `req_${randomUUID()}`
  const lines = Object.entries({
    ...headers,
    'x-request-id': id,
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  })
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.on('error', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head}\r\n${body}`, () => socket.destroySoon())
}

/** It answers the server's event `connect`, on which Node would hang up. */
export function refuseTunnel({ socket }: IncomingMessage): void {
  clientErrorHandler(invalidRequest('CONNECT is not served here.'), socket)
}

function readCode(cause: unknown): string | undefined {
  const code = codeOf(cause)
  return typeof code === 'string' ? code : undefined
}

/** The log learns what the client must not: the failure behind the answer. */
function report(error: unknown, request: FastifyRequest): void {
  const known = readError(error)
  if (request.line) {
    request.line.error = known?.code ?? 'internal_error'
    request.line.cause ??= known === error ? readCode(known?.cause) : readCode(error)
  }
  if (!known || known.statusCode === 500) request.log.error({ err: error }, 'request failed')
  else if (known.statusCode > 500) request.log.warn({ err: error }, 'request failed')
}

/** What a client speaks that is refused. One that missed a path says so by its headers, or by the path that it meant. */
function dialectOfRefused({ raw: { url = '' }, headers, is404 }: FastifyRequest): Dialect {
  const byUrl = dialectOfUrl(is404 && /\/messages(?:[/?]|$)/.test(url) ? '/v1/messages' : url)
  return is404 && byUrl === openaiChat ? dialectOfHeaders(headers) : byUrl
}

function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const error = request.server.judgeRefusal?.(thrown, request) ?? thrown
  report(error, request)
  const { status, headers, body } = writeErrorBody(error, dialectOfRefused(request), request.id)
  hearOut(request, reply)
  return reply.code(status).headers(headers).send(body)
}

/** Fastify's option of this name: it hears of a URL that the router could not read. */
export function frameworkErrors(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  reply.header('x-request-id', request.id)
  void sendError(error, request, reply)
}

/** Everything thrown behind here, and every path that is not here, in the one shape that clients parse. */
export const errorReply = fp(
  async (app) => {
    app.setErrorHandler((error, request, reply) => sendError(error, request, reply))
    app.setNotFoundHandler((request, reply) =>
      sendError(notFound(explainMissing(request.method, request.url)), request, reply),
    )
  },
  { name: 'error-reply' },
)
