import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Dialect } from '../config/catalog/catalog.ts'
import { type GatewayError, internalError, invalidRequest, notFound } from '../errors.ts'
import { STATUS_CODES } from '../node-http.ts'
import { hearOut } from './incoming-body.ts'
import { readError } from './known-errors.ts'

export interface ErrorAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

const JSON_TYPE = 'application/json; charset=utf-8'

/** Anthropic's own words for our statuses, which its client libraries turn into classes. */
const ANTHROPIC_TYPES: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
}

const readAnthropicType = ({ statusCode, code }: GatewayError): string => {
  if (code === 'insufficient_quota') return 'billing_error'
  return ANTHROPIC_TYPES[statusCode] ?? (statusCode < 500 ? 'invalid_request_error' : 'api_error')
}

const shapeOpenAi = ({ message, type, param, code }: GatewayError) => ({
  error: { message, type, param, code },
})

const shapeAnthropic = (error: GatewayError, requestId: string) => ({
  type: 'error',
  error: { type: readAnthropicType(error), message: error.message },
  request_id: requestId,
})

const buildHeaders = (error: GatewayError): Record<string, string> => {
  const headers: Record<string, string> = {
    'content-type': JSON_TYPE,
    'x-should-retry': String(error.passing),
  }
  if (error.statusCode === 401) headers['www-authenticate'] = 'Bearer'
  if (error.retryAfterMs === undefined) return headers
  headers['retry-after'] = String(Math.ceil(error.retryAfterMs / 1000))
  headers['retry-after-ms'] = String(Math.ceil(error.retryAfterMs))
  return headers
}

/** Whose error shape the clients of a path parse. */
export const readDialect = (url: string): Dialect =>
  /^\/v1\/messages(?:[/?]|$)/.test(url) ? 'anthropic' : 'openai'

/** Any thrown thing as a whole answer; what a client must not see is left out. */
export const writeErrorBody = (error: unknown, dialect: Dialect, requestId: string): ErrorAnswer => {
  const known = readError(error) ?? internalError('The gateway failed. Try again later.')
  const shape = dialect === 'anthropic' ? shapeAnthropic(known, requestId) : shapeOpenAi(known)
  return { status: known.statusCode, headers: buildHeaders(known), body: JSON.stringify(shape) }
}

/** The event that ends a stream which cannot be completed. */
export const streamErrorEvent = (
  error: unknown,
  kind: 'openai' | 'responses' | 'anthropic',
  requestId: string,
): string => {
  const known = readError(error) ?? internalError('The gateway failed. Try again later.')
  if (kind === 'anthropic')
    return `event: error\ndata: ${JSON.stringify(shapeAnthropic(known, requestId))}\n\n`
  if (kind === 'openai') return `data: ${JSON.stringify(shapeOpenAi(known))}\n\n`
  const { code, message, param } = known
  return `event: error\ndata: ${JSON.stringify({ type: 'error', code, message, param, sequence_number: 0 })}\n\n`
}

/** Whether an answer is already under way on this connection: another one inside it would corrupt it. */
const isAnswering = (socket: Socket): boolean => {
  const answer: unknown = Reflect.get(socket, '_httpMessage')
  return typeof answer === 'object' && answer !== null && Reflect.get(answer, 'headersSent') === true
}

/** For Fastify's option of this name: bytes that are no HTTP request, or that came too slowly. */
export const clientErrorHandler = (failure: Error, socket: Socket): void => {
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
  const { status, headers, body } = writeErrorBody(error, 'openai', '')
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

/** For the server's event `connect`, which Node would answer by hanging up. */
export const refuseTunnel = ({ socket }: IncomingMessage): void =>
  clientErrorHandler(invalidRequest('CONNECT is not served here.'), socket)

const readCode = (cause: unknown): string | undefined => {
  const code: unknown = cause instanceof Error ? Reflect.get(cause, 'code') : undefined
  return typeof code === 'string' ? code : undefined
}

/** The log learns what the client must not: the failure behind the answer. */
const report = (error: unknown, request: FastifyRequest): void => {
  const known = readError(error)
  if (request.line) {
    request.line.error = known?.code ?? 'internal_error'
    request.line.cause ??= known === error ? readCode(known?.cause) : readCode(error)
  }
  if (!known || known.statusCode === 500) request.log.error({ err: error }, 'request failed')
  else if (known.statusCode > 500) request.log.warn({ err: error }, 'request failed')
}

const sendError = (thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
  const error = request.server.judgeRefusal?.(thrown, request) ?? thrown
  report(error, request)
  const { status, headers, body } = writeErrorBody(error, readDialect(request.raw.url ?? ''), request.id)
  hearOut(request, reply)
  return reply.code(status).headers(headers).send(body)
}

/** For Fastify's option of this name: a URL that its router could not read. */
export const frameworkErrors = (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void => {
  reply.header('x-request-id', request.id)
  void sendError(error, request, reply)
}

/** Everything thrown behind here, and every path that is not here, in the one shape that clients parse. */
export const errorReply = fp(
  async (app) => {
    app.setErrorHandler((error, request, reply) => sendError(error, request, reply))
    app.setNotFoundHandler((request, reply) =>
      sendError(notFound('No such path or method here. The README lists those there are.'), request, reply),
    )
  },
  { name: 'error-reply' },
)
