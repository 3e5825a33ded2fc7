import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { ServiceRoute } from '../config/catalog/service-routes.ts'
import { credentialInUrl, type GatewayError, invalidRequest } from '../errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What stood in the query as `api_key`, on a route that takes a token there; no URL of the request holds it any more. */
    queryKey: string | undefined
  }
}

/** Names that can mean nothing but a credential of ours. */
const OURS = new Set(['api_key', 'api-key', 'apikey', 'x-api-key'])
/** On the gateway's own paths nothing else has one of these names; on a service's route they are the service's. */
const ANYBODYS = new Set([...OURS, 'key', 'token', 'access_token', 'mastertoken', 'authorization'])
const TAKEN = 'api_key'
const MAYBE_OURS = /%|key/i

const EXPOSED =
  'A credential stands in the URL. It is exposed now, so replace it, and send the new one as ' +
  '"Authorization: Bearer <token>".'

/**
 * Why a request is refused for what stands in its query. Where the route takes a key there, it is put aside as
 * `request.queryKey`, and taken out of every URL that the request knows.
 */
export function checkQuery(
  request: FastifyRequest,
  route: ServiceRoute | undefined,
): GatewayError | undefined {
  const { url = '' } = request.raw
  const start = url.indexOf('?')
  if (start < 0) return undefined
  const query = url.slice(start + 1)
  // Each name of ours has it, unless it is escaped.
  if (route !== undefined && !MAYBE_OURS.test(query)) return undefined
  if (route === undefined) return hasCredential(query, ANYBODYS) ? credentialInUrl(EXPOSED) : undefined
  if (!hasCredential(query, OURS)) return undefined
  if (!route.takesQueryKey) return credentialInUrl(EXPOSED)
  const taken = takeKey(query)
  if ('mistake' in taken) return invalidRequest(taken.mistake)
  if (hasCredential(taken.rest ?? '', OURS)) return credentialInUrl(EXPOSED)
  request.queryKey = taken.key
  forget(request, url.slice(0, start) + (taken.rest === undefined ? '' : `?${taken.rest}`))
  return undefined
}

function hasCredential(query: string, names: ReadonlySet<string>): boolean {
  return query.split(/[&;]/).some((pair) => names.has(nameOf(pair).trim().toLowerCase()))
}

function nameOf(pair: string): string {
  return decode(pair.split('=', 1)[0] ?? '') ?? ''
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

interface Taken {
  /** Undefined where the key is empty, or none stands there. */
  key: string | undefined
  /** Undefined where the query held nothing else. */
  rest: string | undefined
}

/** Takes `api_key` out of a query; the rest stays as it is, byte for byte. */
export function takeKey(query: string): Taken | { mistake: string } {
  const pairs = query.split('&')
  const rest = pairs.filter((pair) => nameOf(pair) !== TAKEN)
  if (rest.length < pairs.length - 1) return { mistake: 'Send "api_key" only once.' }
  const found = pairs.find((pair) => nameOf(pair) === TAKEN) ?? ''
  const key = decode(found.slice(found.indexOf('=') + 1 || found.length))
  if (key === undefined)
    return { mistake: 'The query field "api_key" is not percent-encoded as it should be.' }
  return { key: key || undefined, rest: rest.length === 0 ? undefined : rest.join('&') }
}

/** Fastify keeps the URL in three places. */
function forget(request: FastifyRequest, url: string): void {
  const raw: IncomingMessage & { originalUrl?: string } = request.raw
  raw.url = url
  if (raw.originalUrl !== undefined) raw.originalUrl = url
  const query: unknown = request.query
  if (typeof query === 'object' && query !== null) Reflect.deleteProperty(query, TAKEN)
}
