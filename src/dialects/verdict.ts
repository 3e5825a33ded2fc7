import { isRecord, type JsonRecord, parseJson } from '../json.ts'
import { accountFaultIn } from './account-fault.ts'

/** What an answer tells of its own failure, though its status is good. */
export interface ToldFailure {
  reason: 'TOLD_ERROR' | 'NO_OUTPUT' | 'BROKEN_ANSWER' | '404' | '404 path'
  /** The status that it names, or that its error stands for; 0: none. */
  status: number
  /** Our own account was refused. */
  isAccount?: true
  /** Nothing is at the path that was asked. */
  isPath?: true
}

/**
 * What an event says at a stream's beginning: a sign of life such as a ping; that an answer has begun; something a client
 * can use; or that nothing will come.
 */
export type EventVerdict = 'alive' | 'begun' | 'output' | ToldFailure

export const NO_OUTPUT: ToldFailure = { reason: 'NO_OUTPUT', status: 0 }
export const BROKEN_ANSWER: ToldFailure = { reason: 'BROKEN_ANSWER', status: 0 }

const STATUS_OF_TYPE: Readonly<Record<string, number>> = {
  invalid_request_error: 400,
  context_length_exceeded: 400,
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
    const account = accountFaultIn(answer)
    if (account) return { reason: 'TOLD_ERROR', status: account, isAccount: true }
    const holder = isRecord(error) ? error : answer
    return { reason: 'TOLD_ERROR', status: statusIn(holder) }
  }
  if (!isRecord(base) || typeof base.status_code !== 'number' || base.status_code === 0) return undefined
  return { reason: 'TOLD_ERROR', status: STATUS_OF_BASE[base.status_code] ?? 0 }
}

function isSaying(error: unknown): boolean {
  return isRecord(error) ? holdsSomething(error) : typeof error === 'string' && error !== ''
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

/** What a dialect knows of its whole answers. */
interface Judge {
  /** The list that holds what was asked for. */
  outputField?: string | undefined
  failureOf(answer: JsonRecord): ToldFailure | undefined
}

/** What a whole answer tells of its own failure; one whose usage was found is parsed only where its bytes are suspicious. */
export function findFailure(dialect: Judge, body: Buffer, isReported: boolean): ToldFailure | undefined {
  if (isReported && !isSuspicious(dialect, body)) return undefined
  const answer = parseJson(body.toString())
  if (isRecord(answer)) return dialect.failureOf(answer)
  if (!Array.isArray(answer) || answer.length === 0) return BROKEN_ANSWER
  // Some answer lists with a bare list; Gemini tells an error in one.
  return isRecord(answer[0]) ? readToldError(answer[0]) : undefined
}

/** What a failure tells stands near an end of a short answer, or of a long one. */
const LOOKED_AT_BYTES = 4096
const ERROR = Buffer.from('"error"')
const BASE = Buffer.from('"base_resp"')
const LETTER_N = 0x6e

/** Only bytes are compared: nearly every answer is done with here, unparsed. */
function isSuspicious(judge: Judge, body: Buffer): boolean {
  if (!endsObject(body)) return true
  if (body.length <= 2 * LOOKED_AT_BYTES) return tellsFailure(body) || !holdsOutput(judge, body)
  const [head, tail] = [body.subarray(0, LOOKED_AT_BYTES), body.subarray(-LOOKED_AT_BYTES)]
  if (tellsFailure(head) || tellsFailure(tail)) return true
  return !holdsOutput(judge, head) && !holdsOutput(judge, tail)
}

function tellsFailure(part: Buffer): boolean {
  return namesError(part) || part.includes(BASE)
}

function holdsOutput({ outputField }: Judge, part: Buffer): boolean {
  return outputField === undefined || holdsItem(part, outputField)
}

function endsObject(body: Buffer): boolean {
  let last = body.length - 1
  while (isBlankByte(body[last])) last--
  return body[last] === 0x7d
}

/** An error that is `null` is none; as a value it may be the type of an answer or how a choice ended. */
function namesError(part: Buffer): boolean {
  for (let at = part.indexOf(ERROR); at !== -1; at = part.indexOf(ERROR, at + ERROR.length)) {
    const next = afterBlanks(part, at + ERROR.length)
    if (part[next] !== 0x3a || part[afterBlanks(part, next + 1)] !== LETTER_N) return true
  }
  return false
}

/** Whether a list of this name begins with an object. */
function holdsItem(part: Buffer, field: string): boolean {
  const name = `"${field}"`
  for (let at = part.indexOf(name); at !== -1; at = part.indexOf(name, at + name.length)) {
    const colon = afterBlanks(part, at + name.length)
    const bracket = afterBlanks(part, colon + 1)
    if (part[colon] === 0x3a && part[bracket] === 0x5b && part[afterBlanks(part, bracket + 1)] === 0x7b)
      return true
  }
  return false
}

function afterBlanks(part: Buffer, from: number): number {
  let at = from
  while (isBlankByte(part[at])) at++
  return at
}

/** A space, a line's end or a tab: JSON has no other blanks (RFC 8259 section 2). */
export function isBlankByte(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
