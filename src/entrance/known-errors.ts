import {
  bodyTooSlow,
  clientLeft,
  GatewayError,
  headersTooLarge,
  invalidJson,
  invalidRequest,
  notFound,
  rateLimited,
  requestTooLarge,
  unsupportedMedia,
} from '../errors.ts'

type Rewrite = (cause: Error) => GatewayError

const NOT_JSON = 'The body is not valid JSON.'
const TOO_LARGE = 'The body is too large. Send less at once; audio and images may have 300 MiB.'

/** What Fastify and Node throw, in our words: theirs would name files and internals. */
const REWRITES: Readonly<Record<string, Rewrite>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: (cause) => requestTooLarge(TOO_LARGE, { cause }),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: (cause) =>
    unsupportedMedia('This path does not take that "Content-Type".', { cause }),
  FST_ERR_CTP_EMPTY_TYPE: (cause) => unsupportedMedia('Send a "Content-Type" with the body.', { cause }),
  FST_ERR_CTP_EMPTY_JSON_BODY: (cause) => invalidJson('The body is empty. Send a JSON object.', { cause }),
  FST_ERR_CTP_INVALID_JSON_BODY: (cause) => invalidJson(NOT_JSON, { cause }),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: (cause) =>
    invalidRequest('The body is not as long as "Content-Length" says.', { cause }),
  FST_ERR_BAD_URL: (cause) => invalidRequest('The path is not a valid URL path.', { cause }),
  FST_ERR_MAX_PARAM_LENGTH: (cause) => notFound('No such path: one of its parts is too long.', { cause }),
  HPE_HEADER_OVERFLOW: (cause) => headersTooLarge('The headers are too large.', { cause }),
  // What the gateway itself broke off, since nobody listens any more.
  UND_ERR_ABORTED: (cause) => clientLeft('The client left.', { cause }),
  ERR_HTTP_REQUEST_TIMEOUT: (cause) => bodyTooSlow('The request did not arrive in time.', { cause }),
}

const BY_STATUS: Readonly<Record<number, Rewrite>> = {
  404: (cause) => notFound('No such path.', { cause }),
  408: (cause) => bodyTooSlow('The request did not arrive in time.', { cause }),
  413: (cause) => requestTooLarge(TOO_LARGE, { cause }),
  415: (cause) => unsupportedMedia('This path does not take that "Content-Type".', { cause }),
  429: (cause) => rateLimited('Too many requests. Wait as long as "Retry-After" says.', { cause }),
}

/** A schema's refusal: its text names the field and the rule, never the value. */
function readValidation(error: Error): GatewayError | undefined {
  const issues: unknown = Reflect.get(error, 'validation')
  if (!Array.isArray(issues)) return undefined
  const path: unknown = issues[0]?.instancePath
  const param = typeof path === 'string' && path !== '' ? path.slice(1).replaceAll('/', '.') : undefined
  return invalidRequest(error.message, param === undefined ? { cause: error } : { cause: error, param })
}

/** The client's fault in our words, or undefined for a failure of our own. */
export function readError(error: unknown): GatewayError | undefined {
  if (error instanceof GatewayError) return error
  if (!(error instanceof Error)) return undefined
  const code: unknown = Reflect.get(error, 'code')
  const status: unknown = Reflect.get(error, 'statusCode')
  const known = typeof code === 'string' ? REWRITES[code] : undefined
  if (known) return known(error)
  const refused = readValidation(error)
  if (refused) return refused
  if (typeof status !== 'number' || status < 400 || status > 499) return undefined
  if (error instanceof SyntaxError) return invalidJson(NOT_JSON, { cause: error })
  return BY_STATUS[status]?.(error) ?? invalidRequest('The request is not valid.', { cause: error })
}
