import { isRecord, type JsonRecord } from '../json.ts'

/** What an answer tells of its own failure, though its status is good. */
export interface ToldFailure {
  reason: 'TOLD_ERROR' | 'NO_OUTPUT' | 'BROKEN_ANSWER'
  /** The status that it names, or that its error stands for; 0: none. */
  status: number
}

/**
 * What an event says at a stream's beginning: a sign of life such as a ping; that an answer has begun; something a client
 * can use; or that nothing will come.
 */
export type EventVerdict = 'alive' | 'begun' | 'output' | ToldFailure

export const NO_OUTPUT: ToldFailure = { reason: 'NO_OUTPUT', status: 0 }
export const BROKEN_ANSWER: ToldFailure = { reason: 'BROKEN_ANSWER', status: 0 }

const STATUS_OF_TYPE: Readonly<Record<string, number>> = {
  authentication_error: 401,
  invalid_api_key: 401,
  billing_error: 402,
  insufficient_quota: 429,
  rate_limit_error: 429,
  rate_limit_exceeded: 429,
  server_error: 500,
  api_error: 500,
  overloaded_error: 529,
}

/** MiniMax's own numbers: too fast, a bad key, an empty wallet. */
const STATUS_OF_BASE: Readonly<Record<number, number>> = { 1002: 429, 1004: 401, 1008: 402 }

/** The error that stands in a whole answer or an event, in whatever format. */
export function readToldError(answer: JsonRecord): ToldFailure | undefined {
  const { error, base_resp: base } = answer
  if (isSaying(error) || answer.type === 'error') {
    const holder = isRecord(error) ? error : answer
    return { reason: 'TOLD_ERROR', status: statusIn(holder) }
  }
  if (!isRecord(base) || typeof base.status_code !== 'number' || base.status_code === 0) return undefined
  return { reason: 'TOLD_ERROR', status: STATUS_OF_BASE[base.status_code] ?? 0 }
}

function isSaying(error: unknown): boolean {
  return isRecord(error) ? Object.keys(error).length > 0 : typeof error === 'string' && error !== ''
}

function statusIn(error: JsonRecord): number {
  for (const value of [error.code, error.status, error.status_code, error.http_code]) {
    const status = Number(value ?? Number.NaN)
    if (status >= 400 && status < 600) return status
  }
  for (const value of [error.type, error.code]) {
    const status = typeof value === 'string' ? STATUS_OF_TYPE[value] : undefined
    if (status !== undefined) return status
  }
  return 0
}

/** Whether there is anything in a value: a text, a number, a flag, or something in a list or an object. */
export function holdsSomething(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === false) return false
  if (Array.isArray(value)) return value.some(holdsSomething)
  return isRecord(value) ? Object.values(value).some(holdsSomething) : true
}
