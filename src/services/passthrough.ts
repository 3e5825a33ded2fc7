import type { IncomingHttpHeaders } from 'node:http'
import { pipeline, Readable } from 'node:stream'
import type { FastifyHttpProxyOptions } from '@fastify/http-proxy'
import type { FastifyPluginAsync } from 'fastify'
import type { Catalog } from '../config/catalog/catalog.ts'
import type { Settings } from '../config/env/settings.ts'
import type { Deadlines } from '../deadlines.ts'
import type { Dialect } from '../dialects/dialect.ts'
import { copyDownward, dialectOfProvider, type UpstreamHeaders } from '../dialects/headers.ts'
import { openaiChat } from '../dialects/openai-chat.ts'
import { clientLeft, GatewayError } from '../errors.ts'
import { createKeyMask, ErrorMask, type KeyMask, maskHeaders, maskTransform } from '../upstream/key-mask.ts'
import { openThrough } from '../upstream/open-socket.ts'
import {
  headerRecord,
  KEEP_ALIVE_MS,
  MAX_HEAD_BYTES,
  TLS_RULES,
  UpstreamError,
  type UpstreamErrorCode,
  type UpstreamTimeouts,
} from '../upstream/rules.ts'
import { type ProxyFor, targetOf } from '../upstream/tunnel.ts'
import { watchPace } from './body-pace.ts'
import { answerFailure } from './failure.ts'

/** One public path handed to a provider as it is, unmetered. */
export interface PassthroughRoute {
  /** The public path, e.g. `/v1/files`. */
  prefix: string
  origin: string
  /** What `prefix` becomes at the provider, e.g. `/v1/files`; the rest of the path and the query follow it. */
  basePath: string
  /** As it is at this moment. */
  key?(): string | undefined
  dialect: Dialect
}

export interface PassthroughOptions {
  routes: readonly PassthroughRoute[]
  timeouts: UpstreamTimeouts & Pick<Settings, 'bodyTimeoutMs'>
  deadlines: Deadlines
  proxyFor?: ProxyFor | undefined
  upstreamHeaders: UpstreamHeaders
}

/** What undici and the package call by names of their own. */
const TIMEOUTS: Readonly<Record<string, UpstreamErrorCode>> = {
  UND_ERR_CONNECT_TIMEOUT: 'CONNECT_TIMEOUT',
  UND_ERR_HEADERS_TIMEOUT: 'FIRST_BYTE_TIMEOUT',
  FST_REPLY_FROM_TIMEOUT: 'FIRST_BYTE_TIMEOUT',
  UND_ERR_BODY_TIMEOUT: 'IDLE_TIMEOUT',
}

/** The failure behind the package's own, by the names of all ways out. */
function readFailure(failure: Error): GatewayError {
  // Such an error is one of the client's own body.
  for (const one of [failure, failure.cause]) if (one instanceof GatewayError) return one
  const cause = failure.cause instanceof Error ? failure.cause : failure
  const code: unknown = Reflect.get(cause, 'code') ?? Reflect.get(failure, 'code')
  if (typeof code !== 'string') return answerFailure(cause, 'provider')
  const known =
    TIMEOUTS[code] ?? (Reflect.get(failure, 'statusCode') === 504 ? 'FIRST_BYTE_TIMEOUT' : undefined)
  if (known === undefined) return answerFailure(cause, 'provider')
  return answerFailure(new UpstreamError(known, 'The provider did not answer in time', { cause }), 'provider')
}

interface Upward {
  key: string | undefined
  dialect: Dialect
  upstreamHeaders: UpstreamHeaders
}

function buildUpward(
  client: IncomingHttpHeaders,
  { key, dialect, upstreamHeaders }: Upward,
): Record<string, string> {
  const headers = headerRecord(upstreamHeaders(client, { key }, dialect))
  // Nobody reads the body here: it passes in whatever coding it came in.
  for (const name of ['content-length', 'content-encoding']) {
    const value = client[name]
    if (typeof value === 'string') headers[name] = value
  }
  return headers
}

/** A body's length passes too: a client that waits for 300 MiB may see how far it is. */
function buildDownward(answer: IncomingHttpHeaders): IncomingHttpHeaders {
  const headers: IncomingHttpHeaders = {}
  copyDownward(answer, headers)
  if (answer['content-length'] !== undefined) headers['content-length'] = answer['content-length']
  return headers
}

/**
 * The body without the provider's own key, the refusal of an origin also without what else is the operator's; whatever ends
 * one of the two streams ends the other.
 */
function hideKey(body: unknown, own: KeyMask | undefined, refusedBy: string | undefined): unknown {
  const mask = refusedBy === undefined ? own : new ErrorMask(own, undefined, refusedBy)
  return mask && body instanceof Readable ? pipeline(body, maskTransform(mask), () => undefined) : body
}

function readError(failure: unknown): Error {
  return failure instanceof Error ? failure : new Error('unknown')
}

/** Where `PASSTHROUGH_PATHS` lead: a provider named, the first one, or a URL of the operator's. */
export function planPassthrough(
  settings: Pick<Settings, 'passthrough'>,
  catalog: () => Catalog,
): PassthroughRoute[] {
  return settings.passthrough.flatMap(({ prefix, provider, url }): PassthroughRoute[] => {
    if (url !== undefined) {
      const { origin, pathname } = new URL(url)
      return [{ prefix, origin, basePath: pathname, dialect: openaiChat }]
    }
    const { providers } = catalog()
    const [first] = providers.values()
    const target = provider === undefined ? first : providers.get(provider)
    if (!target) return []
    const rest = prefix.startsWith('/v1/') ? prefix.slice('/v1'.length) : prefix
    const dialect = dialectOfProvider(target)
    const { name, origin, basePath } = target
    // An address stays until the next start; a key is replaced at any time.
    const key = (): string | undefined => (catalog().providers.get(name) ?? target).key
    return [{ prefix, origin, basePath: basePath + rest, key, dialect }]
  })
}

/**
 * Passthrough leaves by `@fastify/http-proxy` over undici and not by `Upstreams`, which knows nothing but POST: every
 * method and header of HTTP may pass here, and nothing of it is counted. The package's own agent would verify no certificate, and let a stream wait for another stream's end.
 */
async function openVerifyingAgent(timeouts: UpstreamTimeouts, proxyFor: ProxyFor | undefined) {
  const { Agent, buildConnector } = await import('undici')
  const { connectTimeoutMs } = timeouts
  const connect = buildConnector({ timeout: connectTimeoutMs, ...TLS_RULES })
  return new Agent({
    connect: (options, done) => {
      const target = targetOf(new URL(`${options.protocol}//${options.host}`))
      const proxy = proxyFor?.(target)
      if (!proxy) return connect(options, done)
      openThrough(proxy, target, connectTimeoutMs, (error, socket) =>
        socket ? done(null, socket) : done(error ?? new Error('no tunnel'), null),
      )
    },
    connections: null,
    keepAliveTimeout: KEEP_ALIVE_MS,
    pipelining: 1,
    maxHeaderSize: MAX_HEAD_BYTES,
    // Whether it is a stream is not known here.
    headersTimeout: Math.max(timeouts.answerTimeoutMs, timeouts.firstByteTimeoutMs),
    bodyTimeout: timeouts.idleTimeoutMs,
  })
}

/** What passes to the provider and back: both heads from zero, and neither the provider's key nor its failures as they came. */
function buildReplyOptions(
  route: PassthroughRoute,
  upstreamHeaders: UpstreamHeaders,
): FastifyHttpProxyOptions['replyOptions'] {
  const { dialect, origin } = route
  /** Of requests on their way: an answer repeats the key that went out with its request. */
  const sent = new WeakMap<object, string | undefined>()
  const maskOf = (request: object | undefined) => createKeyMask(request && sent.get(request))
  return {
    rewriteRequestHeaders: (request) => {
      const key = route.key?.()
      sent.set(request, key)
      return buildUpward(request.headers, { key, dialect, upstreamHeaders })
    },
    rewriteHeaders: (headers, request) => maskHeaders(buildDownward(headers), maskOf(request)),
    onResponse: (request, reply, answer) => {
      // What is encoded nobody asked for, and cannot be looked into as it passes.
      const isRefusal = reply.statusCode >= 400 && reply.getHeader('content-encoding') === undefined
      const body: unknown = Reflect.get(answer, 'stream')
      void reply.send(hideKey(body, maskOf(request), isRefusal ? origin : undefined))
    },
    onError: (reply, { error }) => {
      // Its body broke off, and with it the request to the provider. (A request that is destroyed has no socket.)
      const hasLeft = reply.raw.destroyed || reply.raw.socket?.destroyed === true
      void reply.send(hasLeft ? clientLeft('The client left.') : readFailure(readError(error)))
    },
  }
}

/** Auth and limits are the enclosing scope's. */
export const passthrough: FastifyPluginAsync<PassthroughOptions> = async (
  app,
  { routes, timeouts, deadlines, upstreamHeaders, proxyFor },
) => {
  if (routes.length === 0) return
  // The package is loaded when it is used: it would take a tenth of the start.
  const { default: httpProxy } = await import('@fastify/http-proxy')
  // The proxy streams bodies as they come: parsers of the enclosing scope would hold them.
  app.removeAllContentTypeParsers()
  const agent = await openVerifyingAgent(timeouts, proxyFor)
  app.addHook('onClose', () => agent.destroy())
  app.addHook('preHandler', (request, _reply, done) => {
    watchPace(request.raw, deadlines, timeouts.bodyTimeoutMs)
    done()
  })
  for (const route of routes) {
    await app.register(httpProxy, {
      prefix: route.prefix,
      upstream: route.origin,
      rewritePrefix: route.basePath,
      httpMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      // Ours verifies certificates and is told which; the package's own would accept any.
      undici: agent,
      // Its retries of a GET would multiply what one client asks.
      retryMethods: [],
      internalRewriteLocationHeader: false,
      disableRequestLogging: true,
      replyOptions: buildReplyOptions(route, upstreamHeaders),
    })
  }
}
