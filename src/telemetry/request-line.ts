import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Token } from '../stores/token-store.ts'

/** What the rooms found out about a request; each writes its part, the last line of the request says it all. */
export interface RequestLine {
  /** In place of the router's pattern, where that says less. */
  route?: string
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
  /** The status on the bill, for answers that broke off after their head. */
  status?: number | undefined
  /** Of a WebSocket: what the client sent and got, and how it ended. */
  messagesIn?: number | undefined
  messagesOut?: number | undefined
  bytesIn?: number | undefined
  bytesOut?: number | undefined
  closeCode?: number | undefined
  /** Our own error code. */
  error?: string | undefined
  /** The code of the failure behind it. */
  cause?: string | undefined
}

declare module 'fastify' {
  interface FastifyRequest {
    line: RequestLine
    /** Set while a request is paid for: resolves when its charge is in `line`. */
    billing: Promise<void> | undefined
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
  status: undefined,
  error: undefined,
  cause: undefined,
})

const CLIENT_LEFT = 499
const UPGRADED = 101

/** What the client saw, or why it did not see the end. */
const readStatus = ({ line }: FastifyRequest, { raw }: FastifyReply): number => {
  if (raw.writableFinished) return raw.statusCode
  if (line.status === UPGRADED) return UPGRADED
  return line.status !== undefined && line.status >= 400 ? line.status : CLIENT_LEFT
}

const writeLine = (request: FastifyRequest, reply: FastifyReply): void => {
  // The pattern, never the URL: a path can hold what somebody typed into it.
  const route = request.routeOptions.url ?? 'unknown'
  // Unset before the auth room and for everybody it turned away.
  const token: Token | undefined = request.token
  const fields = {
    requestId: request.id,
    method: request.method,
    route,
    latencyMs: Math.round(reply.elapsedTime * 10) / 10,
    tokenId: token?.id,
    user: token?.user,
    address: request.ip,
    ...request.line,
    status: readStatus(request, reply),
  }
  if (route === '/health' || route === '/ready') request.server.log.debug(fields, 'request')
  else request.server.log.info(fields, 'request')
}

/** One line for every request, when its answer is out or its client gone. */
export const requestLine = fp(
  async (app) => {
    app.decorateRequest('line')
    app.decorateRequest('billing')
    app.addHook('onRequest', (request, reply, done) => {
      request.line = openLine()
      // Not `onResponse`: Fastify does not call it for a client that left.
      reply.raw.once('close', () => {
        // A client that left is charged a moment later, and the line says how much.
        if (request.billing) void request.billing.then(() => writeLine(request, reply))
        else writeLine(request, reply)
      })
      done()
    })
  },
  { name: 'request-line' },
)
