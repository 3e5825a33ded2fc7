import { readAccountFault } from '../dialects/account-fault.ts'
import { isPathMissing } from '../dialects/missing-path.ts'
import type { ToldFailure } from '../dialects/verdict.ts'
import {
  type GatewayError,
  gatewayBusy,
  invalidRequest,
  modelNotFound,
  rateLimited,
  upstreamFailed,
  upstreamTimeout,
} from '../errors.ts'

/** Why one attempt came to nothing. */
export interface Failure {
  /** `own`: this machine could not send it; no provider is to blame. */
  kind: 'status' | 'timeout' | 'network' | 'own'
  /** The provider's status, when it gave one. */
  status: number
  /** The status or the error's code, as the log has it. */
  reason: string
  /** The provider's own `Retry-After`, in milliseconds. */
  retryAfterMs: number | undefined
  /** Our own account at the provider was refused (its key, its wallet): whoever asks is told so. */
  isAccount?: true
  /** The provider has nothing at the path that was asked: its base URL is wrong, unless it ever answered at another. */
  isPath?: true
}

/** The request has taken as long as one may, whoever was asked. */
export const TOTAL_TIMEOUT: Failure = {
  kind: 'timeout',
  status: 0,
  reason: 'total timeout',
  retryAfterMs: undefined,
}

/** Whether this status of a provider sends the request to the next one of the plan (contract, section 4). */
export function isProviderFailure(status: number): boolean {
  return (
    status >= 500 ||
    status === 429 ||
    (status >= 300 && status < 400) ||
    (status >= 401 && status <= 404 && status !== 400) ||
    status === 408
  )
}

/** Why this head of an answer sends the request to the next provider; undefined: it is the answer. */
export function readStatusFailure(status: number, headers: Headerish, now: number): Failure | undefined {
  const isPage = status < 300 && /^text\/html/i.test(String(headers['content-type'] ?? ''))
  if (!isProviderFailure(status) && !isPage) return undefined
  const reason = isPage ? 'html' : String(status)
  const failure: Failure = { kind: 'status', status, reason, retryAfterMs: readRetryAfter(headers, now) }
  return isAccountStatus(status) ? { ...failure, isAccount: true } : failure
}

/**
 * Why this body of a refusal sends the request to the next provider all the same: it is our account that was refused, by a
 * status of a client's fault. Undefined: the refusal is the client's.
 */
export function readRefusalFailure(status: number, body: Buffer | undefined): Failure | undefined {
  const account = status >= 400 && body ? readAccountFault(body) : undefined
  if (!account) return undefined
  const reason = `${status}, but it means ${account}`
  return { kind: 'status', status: account, reason, retryAfterMs: undefined, isAccount: true }
}

/** What a 404 says that is no answer, by its body; undefined: it was not read to its end. */
export function readMissing(contentType: string, body: Buffer | undefined): ToldFailure {
  const isPath = body !== undefined && isPathMissing(contentType, body)
  return isPath ? { reason: '404 path', status: 404, isPath } : { reason: '404', status: 404 }
}

/** What an answer with a good status told of its own failure counts as the status that it names. */
export function readToldFailure({ reason, status, isAccount, isPath }: ToldFailure): Failure {
  const failure: Failure = { kind: 'status', status: status || 502, reason, retryAfterMs: undefined }
  if (isPath) return { ...failure, isPath }
  return isAccount || isAccountStatus(status) ? { ...failure, isAccount: true } : failure
}

/** No client's credential goes up, so this is ours; what 402 and 403 mean, only their bodies tell. */
function isAccountStatus(status: number): boolean {
  return status === 401
}

/** What a good status told: as a status of its own it would have gone to the client. */
function isRequestRefused({ status, isAccount }: Failure): boolean {
  return (status === 400 || status === 413 || status === 422) && !isAccount
}

/** The provider is well, but it does not know the model, or not at this endpoint. */
export function isModelMissing({ status, isPath }: Failure): boolean {
  return status === 404 && !isPath
}

/** What the log says of a failure; `isNews`: of a path that a provider does not have, for the first time. */
export function textOf({ kind, reason }: Failure, isNews: boolean): string {
  if (isNews) return 'the provider has nothing at this path: correct its base URL, or do not ask it there'
  if (kind !== 'own') return 'provider failed'
  const way = WAYS_OUT[reason]
  return `the gateway could not send a request${way === undefined ? '' : `: ${way}`}`
}

const TIMEOUTS = new Set(['CONNECT_TIMEOUT', 'ANSWER_TIMEOUT', 'FIRST_BYTE_TIMEOUT', 'IDLE_TIMEOUT'])

/** The request never reached the provider. */
export function isUnsent({ reason }: Failure): boolean {
  return reason === 'CONNECT_TIMEOUT'
}

/** Descriptors, memory, buffers and ports of our own that are used up, and what our own system refuses to send. */
const OWN_FAULTS = new Set([
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'ENOBUFS',
  'EADDRNOTAVAIL',
  'EINVAL',
  'EMSGSIZE',
  'ENOTSOCK',
  'EBADF',
  'EPERM',
  'EAI_MEMORY',
  'EAI_SYSTEM',
  'BODY_MISMATCH',
])

/** What the whole machine lacks, whoever is asked. */
const EXHAUSTED = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EAI_MEMORY'])

const WAYS_OUT: Readonly<Record<string, string>> = {
  EMFILE:
    'it may open no more files (raise "ulimit -n": LimitNOFILE= in systemd, --ulimit nofile= in Docker)',
  ENFILE: 'this machine may open no more files (raise fs.file-max)',
  ENOBUFS: 'this machine has no memory left for sockets (net.core.wmem_max, net.ipv4.tcp_mem)',
  ENOMEM: 'this machine has no memory left',
  EADDRNOTAVAIL: 'no port is left, or there is no way by this kind of address (net.ipv4.ip_local_port_range)',
}

/** Nobody else could be asked either. */
export function isExhausted({ kind, reason }: Failure): boolean {
  return kind === 'own' && EXHAUSTED.has(reason)
}

/**
 * Node's own say that what we called it with was wrong. A proxy that is away, or refuses what we ask, is ours as well; only
 * that it could not reach the provider (`PROXY_502`) is the provider's failure.
 */
const OWN_CODES = /^(?:ERR_(?:INVALID_|OUT_OF_RANGE|MEMORY_)|PROXY_(?:UNREACHABLE|[1-4]\d\d)$)/

function isOwn(code: string): boolean {
  return OWN_FAULTS.has(code) || OWN_CODES.test(code)
}

/** What went wrong on the wire, for failover and for the log. */
export function readNetworkFailure(error: Error): Failure {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name
  return {
    kind: isOwn(code) ? 'own' : TIMEOUTS.has(code) ? 'timeout' : 'network',
    status: 0,
    reason: code,
    retryAfterMs: undefined,
  }
}

/** `Retry-After` (RFC 9110 section 10.2.3: seconds or a date) or `retry-after-ms`, in milliseconds. */
export function readRetryAfter(headers: Headerish, now: number): number | undefined {
  const milliseconds = Number(headers['retry-after-ms'] ?? Number.NaN)
  if (milliseconds > 0) return milliseconds
  const value = headers['retry-after']
  if (typeof value !== 'string') return undefined
  const seconds = Number(value)
  const ms = Number.isNaN(seconds) ? Date.parse(value) - now : seconds * 1000
  return ms > 0 ? ms : undefined
}

type Headerish = Readonly<{ [name: string]: string | string[] | undefined }>

/** One request's way through its plan, for judgement. */
export interface Walked {
  failures: readonly Failure[]
  /** How long each provider of the plan rests. */
  restsMs: readonly number[]
  /** Steps of the plan that nobody knows an answer of: not asked, and not known to lack the model. */
  neverAsked: number
  /** Where a model was asked for that the operator lists: it is there, though not at this path. */
  endpoint?: string | undefined
}

/** The one error that stands for all attempts of a request. */
export function judgeFailures(
  model: string,
  { failures, restsMs, neverAsked, endpoint }: Walked,
): GatewayError {
  const last = failures.at(-1)
  const name = model.slice(0, 64)
  if (last && neverAsked === 0 && failures.every(isModelMissing)) {
    const text =
      endpoint === undefined
        ? 'No provider knows this model; GET /v1/models lists what your token may use'
        : `No provider of "${name}" has it at /v1${endpoint}; ask for it at another endpoint, or for another model`
    return modelNotFound(text, { param: 'model' })
  }
  if (last && (isExhausted(last) || failures.every(({ kind }) => kind === 'own'))) return ownFault(last)
  if (last && neverAsked === 0 && failures.every(isRequestRefused)) {
    const text = `Every provider of "${name}" refused this request as it is, too long or with what none takes; change it`
    return invalidRequest(text)
  }
  if (last?.status === 429 && last.retryAfterMs) {
    const saidMs = failures.map(({ status, retryAfterMs }) => (status === 429 && retryAfterMs) || Infinity)
    const text = `The providers of "${name}" take no more requests right now; wait as long as "retry-after" says`
    return rateLimited(text, { retryAfterMs: Math.min(...saidMs) })
  }
  const retryAfterMs = Math.max(1000, Math.min(...restsMs))
  if (last?.kind === 'timeout' || last?.status === 504) {
    return upstreamTimeout(`No provider of "${name}" answered in time; try again`, { retryAfterMs })
  }
  return upstreamFailed(`No provider of "${name}" could answer; try again in a moment`, { retryAfterMs })
}

/** Nobody could even be asked, by a fault of this machine. */
export function ownFault({ reason }: Failure): GatewayError {
  return gatewayBusy('The gateway could not send this request on right now; send it again in a moment', {
    cause: new Error(reason),
  })
}
