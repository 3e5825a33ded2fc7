import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Token } from '../stores/contracts/tokens.ts'
import { type LineUsage, NO_LINE_USAGE } from '../stores/contracts/usage-columns.ts'

/** What the row says; its status is the one on the bill, for answers that broke off after their head. */
type OfRow = { [F in keyof LineUsage]?: LineUsage[F] | undefined }

/** What the rooms found out about a request; each writes its part, the last line of the request says it all. */
export interface RequestLine extends OfRow {
  requestId: string
  method: string
  /** The router's pattern, or a service's prefix; never the URL: a path can hold what somebody typed into it. */
  route?: string | undefined
  latencyMs?: number | undefined
  /** Unset before the auth room and for everybody it turned away. */
  tokenId?: string | undefined
  user?: string | undefined
  address?: string | undefined
  model?: string | undefined
  provider?: string | undefined
  modelUsed?: string | undefined
  chargedMicros?: number | undefined
  firstByteMs?: number | undefined
  stream?: boolean | undefined
  /** The status on the bill, for answers that broke off after their head; in the line what the client saw. */
  status?: number | undefined
  /** What the client of a WebSocket sent and got, and how it ended. */
  messagesIn?: number | undefined
  messagesOut?: number | undefined
  /** Of bodies and frames: what a service's client sent, and what it got. */
  bytesIn?: number | undefined
  bytesOut?: number | undefined
  closeCode?: number | undefined
  /** Our own error code. */
  error?: string | undefined
  /** The code of the failure behind it. */
  cause?: string | undefined
}

/** The bill of a request. */
export interface Billing {
  /** Calls `then` when the charge is in the request's line: at once when it is there. */
  whenBilled(then: () => void): void
}

declare module 'fastify' {
  interface FastifyRequest {
    line: RequestLine
    /** It is there for a request that is paid for. */
    billing: Billing | undefined
  }
}

export interface RequestLineOptions {
  /** It is told of every request that is over. */
  count(line: RequestLine): void
  /** It is told of those that a route of services stood for. */
  noteService?(request: FastifyRequest): void
}

/** All fields at once, so that every request's object has the same shape for the engine. */
function openLine({ id, method }: FastifyRequest): RequestLine {
  return {
    requestId: id,
    method,
    route: undefined,
    latencyMs: undefined,
    tokenId: undefined,
    user: undefined,
    address: undefined,
    model: undefined,
    provider: undefined,
    modelUsed: undefined,
    ...NO_LINE_USAGE,
    chargedMicros: undefined,
    firstByteMs: undefined,
    stream: undefined,
    bytesIn: undefined,
    bytesOut: undefined,
    error: undefined,
    cause: undefined,
  }
}

/** Machines ask for these every few seconds. */
const QUIET = new Set(['/health', '/health/services', '/ready', '/metrics'])
const CLIENT_LEFT = 499
const UPGRADED = 101

/** What the client saw, or why it did not see the end. */
function readStatus({ line }: FastifyRequest, { raw }: FastifyReply): number {
  if (raw.writableFinished) return raw.statusCode
  if (line.status === UPGRADED) return UPGRADED
  return line.status !== undefined && line.status >= 400 ? line.status : CLIENT_LEFT
}

function writeLine(request: FastifyRequest, reply: FastifyReply): void {
  const { line } = request
  const token: Token | undefined = request.token
  line.route ??= request.routeOptions.url ?? 'unknown'
  line.latencyMs = Math.round(reply.elapsedTime * 10) / 10
  line.tokenId = token?.id
  line.user = token?.user ?? personOf(request)
  line.address = request.ip
  line.status = readStatus(request, reply)
  if (QUIET.has(line.route)) request.server.log.debug(line, 'request')
  else request.server.log.info(line, 'request')
}

/** Somebody else has chosen it: a line is no place for more. */
const MOST_USER_CHARACTERS = 256

/** Who calls a service with a JWT instead of a token. */
function personOf({ caller }: FastifyRequest): string | undefined {
  return caller?.kind === 'person' ? caller.id.slice(0, MOST_USER_CHARACTERS) : undefined
}

/** One line for every request, when its answer is out or its client gone. */
export const requestLine = fp<RequestLineOptions>(
  async (app, { count, noteService }) => {
    const end = (request: FastifyRequest, reply: FastifyReply): void => {
      writeLine(request, reply)
      count(request.line)
      if (request.service !== undefined) noteService?.(request)
    }
    app.decorateRequest('line')
    app.decorateRequest('billing')
    app.addHook('onRequest', (request, reply, done) => {
      request.line = openLine(request)
      // `onResponse` would not do: Fastify does not call it for a client that left.
      reply.raw.once('close', () => {
        // A client that left is charged a moment later, and the line says how much.
        if (request.billing) request.billing.whenBilled(() => end(request, reply))
        else end(request, reply)
      })
      done()
    })
  },
  { name: 'request-line' },
)
