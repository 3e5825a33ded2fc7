/** What a refusal carries besides its text. */
export interface ErrorDetail {
  /** The request field at fault, for the client's `error.param`. */
  param?: string
  /** How long to wait before asking again makes sense; it also marks the error as passing. */
  retryAfterMs?: number
  /** What `WWW-Authenticate` says; otherwise `Bearer` for a 401, and nothing for the rest. */
  challenge?: string
  /** The log alone has it: it is never shown to the client. */
  cause?: unknown
}

/** The one error that the gateway answers with; `entrance/error-reply.ts` alone writes it out. */
export class GatewayError extends Error {
  readonly statusCode: number
  /** The machine-readable `error.code`. */
  readonly code: string
  readonly type: string
  readonly param: string | null
  readonly retryAfterMs: number | undefined
  readonly challenge: string | undefined
  /** Whether the very same request may succeed later: the client's `x-should-retry`. */
  readonly passing: boolean

  constructor(row: ErrorRow, text: string, detail: ErrorDetail = {}) {
    super(text, { cause: detail.cause })
    this.statusCode = row.status
    this.code = row.code
    this.type = row.type
    this.param = detail.param ?? null
    this.retryAfterMs = detail.retryAfterMs ?? (row.passing ? 1000 : undefined)
    this.challenge = detail.challenge ?? (row.status === 401 ? 'Bearer' : undefined)
    this.passing = row.passing
  }
}

interface ErrorRow {
  status: number
  code: string
  type: string
  passing: boolean
}

function define(status: number, code: string, type: string, passing = false) {
  return (text: string, detail?: ErrorDetail) =>
    new GatewayError({ status, code, type, passing }, text, detail)
}

const INVALID = 'invalid_request_error'

export const invalidJson = define(400, 'invalid_json', INVALID)
export const missingModel = define(400, 'missing_model', INVALID)
export const invalidRequest = define(400, 'invalid_request', INVALID)
export const credentialInUrl = define(400, 'credential_in_url', INVALID)
export const invalidApiKey = define(401, 'invalid_api_key', 'authentication_error')
/** A JWT that lets nobody in. */
export const invalidToken = define(401, 'invalid_token', 'authentication_error')
/** Only for services: on `/v1` a disabled token is told nothing. */
export const keyDisabled = define(403, 'key_disabled', 'permission_error')
/** Whoever it is may not enter this route. */
export const insufficientRights = define(403, 'insufficient_rights', 'permission_error')
export const modelNotAllowed = define(403, 'model_not_allowed', 'permission_error')
export const addressNotAllowed = define(403, 'address_not_allowed', 'permission_error')
export const modelNotFound = define(404, 'model_not_found', INVALID)
export const originNotAllowed = define(403, 'origin_not_allowed', 'permission_error')
export const notFound = define(404, 'not_found', INVALID)
export const nameTaken = define(409, 'name_taken', INVALID)
export const balanceTooSmall = define(409, 'balance_too_small', INVALID)
/** The first request under this key still runs. */
export const idempotencyRunning = define(409, 'idempotency_conflict', INVALID, true)
/** The first request under this key is over, and its answer cannot be given again. */
export const idempotencyOver = define(409, 'idempotency_conflict', INVALID)
/** The token has as many keys of the last day as one may. */
export const idempotencyFull = define(429, 'too_many_idempotency_keys', 'rate_limit_error', true)
export const bodyTooSlow = define(408, 'request_timeout', INVALID, true)
export const requestTooLarge = define(413, 'request_too_large', INVALID)
export const unsupportedMedia = define(415, 'unsupported_media_type', INVALID)
export const idempotencyMismatch = define(422, 'idempotency_mismatch', INVALID)
/** Nobody reads it: for the log alone. */
export const clientLeft = define(499, 'client_left', INVALID)
export const rateLimited = define(429, 'rate_limit_exceeded', 'rate_limit_error', true)
export const insufficientQuota = define(429, 'insufficient_quota', 'insufficient_quota')
export const upgradeNotServed = define(426, 'upgrade_not_served', INVALID)
export const upgradeRequired = define(426, 'upgrade_required', INVALID)
export const headersTooLarge = define(431, 'headers_too_large', INVALID)
export const internalError = define(500, 'internal_error', 'api_error', true)
export const upstreamFailed = define(502, 'upstream_failed', 'api_error', true)
/** A route leads back to this gateway. */
export const loopDetected = define(508, 'loop_detected', 'api_error')
export const methodNotAllowed = define(405, 'method_not_allowed', INVALID)
export const storeUnavailable = define(503, 'store_unavailable', 'api_error', true)
/** No memory, no descriptor, no port of this machine is left for it at this moment. */
export const gatewayBusy = define(503, 'gateway_busy', 'api_error', true)
/** An upload would have to be stored, and there is no room for it. */
export const spoolFull = define(503, 'spool_full', 'api_error', true)
export const gatewayRestarting = define(503, 'gateway_restarting', 'api_error', true)
export const upstreamTimeout = define(504, 'upstream_timeout', 'api_error', true)
/** Its answer may have been made all the same: to ask again would pay twice. */
export const generationTimedOut = define(504, 'upstream_timeout', 'api_error')

/** JavaScript lets anything be thrown; what is no error becomes one. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}

/** The words of what was thrown, for an operator's eyes: they may name files and hosts. */
export function errorText(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The code that Node gives its own errors, such as `ENOENT`; undefined for an error without one. */
export function codeOf(thrown: unknown): unknown {
  return thrown instanceof Error ? Reflect.get(thrown, 'code') : undefined
}
