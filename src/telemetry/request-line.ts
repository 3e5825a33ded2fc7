import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Token } from '../stores/token-store.ts'

/** What the rooms found out about a request; each writes its part, the last line of the request says it all. */
export interface RequestLine {
  model?: string | undefined
  provider?: string | undefined
  modelUsed?: string | undefined
  attempts?: number | undefined
  inputTokens?: number | undefined
  cachedTokens?: number | undefined
  outputTokens?: number | undefined
  reasoningTokens?: number | undefined
  estimated?: boolean | undefined
  chargedMicros?: number | undefined
  firstByteMs?: number | undefined
  stream?: boolean | undefined
  /** Our own error code. */
  error?: string | undefined
  /** The code of the failure behind it. */
  cause?: string | undefined
}

declare module 'fastify' {
  interface FastifyRequest {
    line: RequestLine
  }
}

/** All fields at once, so that every request's object has the same shape for the engine. */
const openLine = (): RequestLine => ({
  model: undefined,
  provider: undefined,
  modelUsed: undefined,
  attempts: undefined,
  inputTokens: undefined,
  cachedTokens: undefined,
  outputTokens: undefined,
  reasoningTokens: undefined,
  estimated: undefined,
  chargedMicros: undefined,
  firstByteMs: undefined,
  stream: undefined,
  error: undefined,
  cause: undefined,
})

const CLIENT_LEFT = 499

const writeLine = (request: FastifyRequest, reply: FastifyReply): void => {
  // The pattern, never the URL: a path can hold what somebody typed into it.
  const route = request.routeOptions.url ?? 'unknown'
  // Unset before the auth room and for everybody it turned away.
  const token: Token | undefined = request.token
  const fields = {
    requestId: request.id,
    method: request.method,
    route,
    status: reply.raw.writableFinished ? reply.raw.statusCode : CLIENT_LEFT,
    latencyMs: Math.round(reply.elapsedTime * 10) / 10,
    tokenId: token?.id,
    user: token?.user,
    address: request.ip,
    ...request.line,
  }
  if (route === '/health' || route === '/ready') request.server.log.debug(fields, 'request')
  else request.server.log.info(fields, 'request')
}

/** One line for every request, when its answer is out or its client gone. */
export const requestLine = fp(
  async (app) => {
    app.decorateRequest('line')
    app.addHook('onRequest', (request, reply, done) => {
      request.line = openLine()
      // Not `onResponse`: Fastify does not call it for a client that left.
      reply.raw.once('close', () => writeLine(request, reply))
      done()
    })
  },
  { name: 'request-line' },
)
