import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Entry, ServiceRoute } from '../config/catalog/service-routes.ts'
import { type GatewayError, methodNotAllowed, notFound } from '../errors.ts'
import { METHODS } from '../node-http.ts'
import { Forward, type ForwardShared } from './forward.ts'
import { isTooLong, tooLarge } from './upload.ts'

export interface HttpRoutesOptions {
  /** Whose door the plugin hangs in: auth and limits are the enclosing scope's. */
  entry: Entry
  shared: ForwardShared
}

/** Node answers it by itself: it is no request for a path. */
const OF_TUNNELS = 'CONNECT'
/** What Fastify reads a body of only where it is told so; ours are read by nobody but the service. */
const SERVED = METHODS.filter((method) => method !== OF_TUNNELS)

/** Makes the router take each method that Node parses; once for an app, before routes are hung. */
export function takeAllMethods(app: FastifyInstance): void {
  const known = new Set(app.supportedMethods)
  for (const method of SERVED) if (!known.has(method)) app.addHttpMethod(method, { hasBody: true })
}

/** Never asked: what the shell makes of a path must not matter, so that it sees none of ours. */
const NOWHERE = 'http://service.invalid'
const NOBODY = { request: refuseToSend }

function refuseToSend(): never {
  throw new Error('services are asked by src/upstream alone')
}

/**
 * The routes of one door, hung by `@fastify/http-proxy`: its wildcards, methods and parsers that leave bodies alone. What it
 * would do to a path (decode, join, parse as a URL, refuse) happens to a constant, for `preRewrite` shows it nothing else;
 * the path that was matched goes out as it came. Its own way out is never asked.
 */
export async function httpRoutes(app: FastifyInstance, { entry, shared }: HttpRoutesOptions): Promise<void> {
  // The package is loaded when it is used: it would take a tenth of the start.
  const { default: httpProxy } = await import('@fastify/http-proxy')
  // Parsers of the enclosing scope would hold bodies.
  app.removeAllContentTypeParsers()
  app.addHook('onRequest', passAnyType)
  await app.register(httpProxy, {
    upstream: NOWHERE,
    undici: NOBODY,
    prefix: '',
    httpMethods: SERVED,
    constraints: { service: entry },
    config: { entry },
    preRewrite: () => '/',
    disableRequestLogging: true,
    // It answers: the package's own handler, which parses three URLs at each request, is never reached.
    preHandler: (request: FastifyRequest, reply: FastifyReply) => serve(request, reply, shared),
    handler: refuseToSend,
  })
}

const OCTETS = { 'content-type': 'application/octet-stream' }
const TYPE = /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(?:;|$)/

/** Fastify refuses types that it cannot read; here nobody reads them, and the service gets what was sent. */
function passAnyType(request: FastifyRequest, _reply: FastifyReply, done: () => void): void {
  const type = request.headers['content-type']
  if (type === undefined ? request.method === 'QUERY' : !TYPE.test(type)) request.headers = OCTETS
  done()
}

function serve(request: FastifyRequest, reply: FastifyReply, shared: ForwardShared): void {
  const { service } = request
  if (!service) throw notFound('There is no such path any more.')
  const refusal =
    findMethodMistake(request, reply, service.route) ?? findLengthMistake(request, service.route)
  if (refusal) throw refusal
  new Forward(request, reply, { service, shared }).start()
}

/** A handshake is a GET, and asks it too. */
export function findMethodMistake(
  { method, headers }: FastifyRequest,
  reply: FastifyReply,
  { methods }: ServiceRoute,
): GatewayError | undefined {
  if (methods === undefined || methods.includes(method)) return undefined
  // Whoever may ask for a thing may ask for its head, and a page asks before it asks.
  if (method === 'HEAD' && methods.includes('GET')) return undefined
  if (method === 'OPTIONS' && headers['access-control-request-method'] !== undefined) return undefined
  const allowed = methods.includes('GET') && !methods.includes('HEAD') ? [...methods, 'HEAD'] : methods
  reply.header('allow', allowed.join(', '))
  return methodNotAllowed(`This path takes ${allowed.join(', ')}, not ${method}.`)
}

function findLengthMistake({ raw }: FastifyRequest, { limits }: ServiceRoute): GatewayError | undefined {
  const { maxBodyBytes } = limits
  return maxBodyBytes !== undefined && isTooLong(raw, maxBodyBytes) ? tooLarge(maxBodyBytes) : undefined
}
