import type { Bill } from '../billing/bill.ts'
import type { Provider } from '../config/catalog/catalog.ts'
import { BROKEN_ANSWER, isBlankByte, type ToldFailure } from '../dialects/verdict.ts'
import type { GatewayError } from '../errors.ts'
import { type Failure, readToldFailure } from '../routing/failover.ts'
import type { AnswerHeaders } from '../upstream/heads.ts'
import { createKeyMask, ErrorMask, type KeyMask, maskHeaders } from '../upstream/key-mask.ts'
import type { Attempts } from './attempts.ts'
import type { PaidCall, Shared } from './paid-call.ts'

/**
 * How long a stream's head, and what only says that an answer begins, wait for output; then they leave, lest somebody
 * gives up a silent one.
 */
export const HEAD_PATIENCE_MS = 250

/** One provider's answer on its way to the client. What its ends return resolves when nothing more will happen. */
export interface Answer {
  data(chunk: Buffer): void
  /** Whether the client has seen more of it than a head and signs of life: no other answer may follow then. */
  hasSpoken(): boolean
  /** Whether whole events wait here for its first output. */
  holdsBack(): boolean
  /** To be asked once it is whole: what it tells of its own failure. */
  failure(): ToldFailure | undefined
  ended(): Promise<void>
  /** The provider went away in the middle, or the gateway gives up; `status` is for the record. */
  died(error: Error, status: number): Promise<void>
  /** The client went away. */
  left(): Promise<void>
  /** Nothing more of it may leave: another provider is asked, or the request is refused. */
  drop(): void
}

/** One thing that is done with a stream's bytes on their way to the client. */
export interface Stage {
  /** What of these bytes goes on to the next stage. Throws on an event that is too large. */
  pass(bytes: Buffer): Buffer
  /** The same for the last bytes, with whatever was held back for more. */
  last(bytes: Buffer): Buffer
}

/** What a provider says before its answer's body. */
export interface AnswerHead {
  status: number
  headers: AnswerHeaders
  /** It keeps the provider's own key out of all that follows. */
  mask: KeyMask | ErrorMask | undefined
}

/** The head without the provider's key, and with a mask for what follows: a refusal is looked at as a whole. */
export function readHead(
  { key, origin }: Pick<Provider, 'key' | 'origin'>,
  status: number,
  headers: AnswerHeaders,
): AnswerHead {
  const mask = createKeyMask(key)
  const clean = maskHeaders(headers, mask)
  if (status < 400) return { status, headers: clean, mask }
  const whole = new ErrorMask(mask, headers['content-encoding'], origin)
  return { status, headers: whole.headers(clean), mask: whole }
}

/** Whose answer it is: the exchange, as far as an answer needs it. */
export interface AnswerOwner {
  readonly call: PaidCall
  readonly shared: Shared
  readonly bill: Bill
  readonly attempts: Attempts
  /** This is an answer: there is no way back from it. */
  accept(): void
  /** The answer tells that it is none. */
  failedInside(why: ToldFailure): void
  /** The answer may not go on: it is told to end with this error. */
  cutOff(why: GatewayError): void
}

/** How an answer passes: as events, whole, or as its first byte decides. */
export type AnswerKind = 'stream' | 'whole' | 'unclear'

const EVENT_STREAM = /^text\/event-stream/i
/** These types some write over their events, when they write any. */
const LOOSE_TYPES = /^(?:$|text\/|application\/(?:[\w.+-]*json|x-ndjson|octet-stream))/i

/** Whatever the client asked for, the provider's answer decides; where its media type may be wrong, its first byte. */
export function readKind({ status, headers }: AnswerHead, asksForStream: boolean): AnswerKind {
  if (status >= 300) return 'whole'
  const type = headers['content-type'] ?? ''
  if (EVENT_STREAM.test(type)) return 'stream'
  return asksForStream && LOOSE_TYPES.test(type) && isPlain(headers['content-encoding']) ? 'unclear' : 'whole'
}

/** What a client knows of the answer that it waits for. */
export interface ToldHead extends Pick<AnswerHead, 'headers'> {
  kind: AnswerKind
}

/** Why such an answer may not follow one that failed, of which the client was told so much; its first bytes may still say no. */
export function findMisfit(
  told: ToldHead,
  { status, headers }: AnswerHead,
  kind: AnswerKind,
): Failure | undefined {
  const isSameKind = kind === told.kind || (kind === 'unclear' && told.kind === 'stream')
  const isSameCoding = headers['content-encoding'] === told.headers['content-encoding']
  if (status < 300 && isSameKind && isSameCoding) return undefined
  return readToldFailure({ ...BROKEN_ANSWER, status: status < 300 ? 0 : status })
}

function isPlain(encoding: string | undefined): boolean {
  return encoding === undefined || encoding === 'identity'
}

/**
 * JSON begins with a brace; events with the first letter of a field or the colon of a comment. Blanks and the mark of UTF-8
 * may stand before either.
 */
export function kindByFirstBytes(kind: AnswerKind, bytes: Buffer): AnswerKind {
  if (kind === 'whole') return kind
  let at = bytes.indexOf(MARK) === 0 ? MARK.length : 0
  while (isBlankByte(bytes[at])) at++
  const first = bytes[at] ?? bytes[0] ?? 0
  if (kind === 'unclear') return EVENT_BYTES.includes(first) ? 'stream' : 'whole'
  return first === OPEN_BRACE ? 'whole' : kind
}

const EVENT_BYTES = Buffer.from(':deir\xef', 'latin1')
const MARK = Buffer.from('\ufeff')
const OPEN_BRACE = 0x7b

/** The head that such an answer should have had. */
export function asEventStream(head: AnswerHead): AnswerHead {
  return { ...head, headers: { ...head.headers, 'content-type': 'text/event-stream' } }
}
