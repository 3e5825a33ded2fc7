import type { IncomingHttpHeaders } from 'node:http'
import type { Provider, Unit } from '../config/catalog/catalog.ts'
import type { DialectName } from '../config/endpoints.ts'
import type { GatewayError } from '../errors.ts'
import type { JsonRecord } from '../json.ts'
import type { Usage } from './usage.ts'
import { type EventVerdict, holdsSomething, NO_OUTPUT, readToldError, type ToldFailure } from './verdict.ts'

/** One wire format: how it is asked for, what its answers say was used and said, and how its errors look. */
export interface Dialect extends Api, Counting, Reporting, Wording, Judging {
  /** For the counting thread, where no function can be sent. */
  name: DialectName
}

/** What all formats of one vendor's API share. */
export interface Api {
  isSpokenBy(provider: Pick<Provider, 'dialects'>): boolean
  /** The refusal of a model that no provider offers in this format. */
  unspokenText: string
  /** Adds to a flat list of names and values what a provider wants to know first, and the key it knows us by. */
  authorize(headers: string[], client: IncomingHttpHeaders, key: string | undefined): void
  /** The name under which clients look for a request's id besides `x-request-id`. */
  requestIdHeader: string | undefined
  /** The status of a refusal, where clients of this API know another one for it. */
  errorStatus(error: GatewayError): number
  /** The body of a refusal. */
  errorBody(error: GatewayError, requestId: string): string
  /** The event that ends a stream which cannot be completed. */
  errorEvent(error: GatewayError, requestId: string): string
  /** One model, as a list of models or an answer about it alone has it. */
  describeModel(model: ListedModel): JsonRecord
  listModels(models: readonly ListedModel[]): JsonRecord
}

export interface ListedModel {
  name: string
  owner: string
}

/** What of a request costs, and what decides that. */
export interface Counting {
  isFree: boolean
  /** What a price may name for it in place of LLM tokens. */
  unit: Unit | undefined
  /** It is paid by the image, by the character that is spoken, or by the second that was. */
  countsImages: boolean
  countsCharacters: boolean
  countsSeconds: boolean
  /** Whether its answers are paid for besides the input. */
  hasOutput: boolean
  /** Whether what its answers say can be counted as text. */
  answersInText: boolean
  /** The fields that limit an answer's length. */
  outputLimitFields: readonly string[]
  /** `background` is a flag here; in other formats a field of this name may be anything but `true`. */
  hasBackground: boolean
}

/** How an answer reports what was used. */
export interface Reporting {
  /** Whether a stream must be asked for its usage by `stream_options`. */
  asksForUsage: boolean
  /** A `usage` object in our words; undefined when it says nothing credible. */
  readReport(report: JsonRecord): Usage | undefined
  /** What an answer without a `usage` object says all the same. */
  readUnreported(answer: JsonRecord): Usage | undefined
  /** Whether the report of this event of a stream is one of all that was used. */
  isLastWord(event: JsonRecord): boolean
  /** The `type` of the event that names the input at a stream's start. */
  startType: string | undefined
  /** How many braces deep the report lies in an event that repeats the whole answer. */
  reportDepth: number
  /** The types of events that end a stream, besides `[DONE]`. */
  endTypes: readonly string[]
  /** Whether the last event repeats the answer, and may begin before the bytes that are kept. */
  repeatsAnswer: boolean
}

/** What a client can read of an answer, thoughts and tool calls included. */
export interface Wording {
  textOfEvent(event: JsonRecord): string
  textOfAnswer(answer: JsonRecord): string
}

/** What an answer with a good status says of itself. */
export interface Judging {
  /** The list of its whole answers that holds what was asked for; undefined: other shapes are known too. */
  outputField: string | undefined
  /** Why this whole answer is none. */
  failureOf(answer: JsonRecord): ToldFailure | undefined
  /** What this event says, as long as none before it was output. */
  judgeEvent(event: JsonRecord): EventVerdict
  /** It keeps a silent stream alive, and clients pass over it. */
  heartbeat: string
}

/** What most formats do. */
const USUAL: Counting & Omit<Reporting, 'readReport'> & Wording & Judging = {
  isFree: false,
  unit: undefined,
  countsImages: false,
  countsCharacters: false,
  countsSeconds: false,
  hasOutput: true,
  answersInText: true,
  // A lenient reader may take any of them for the limit, whatever the format.
  outputLimitFields: ['max_tokens', 'max_completion_tokens', 'max_output_tokens'],
  hasBackground: false,
  asksForUsage: false,
  readUnreported: () => undefined,
  isLastWord: () => true,
  startType: undefined,
  reportDepth: 1,
  endTypes: [],
  repeatsAnswer: true,
  textOfEvent: () => '',
  textOfAnswer: () => '',
  outputField: undefined,
  failureOf: (answer) => readToldError(answer) ?? (holdsSomething(answer) ? undefined : NO_OUTPUT),
  judgeEvent: (event) => readToldError(event) ?? 'output',
  heartbeat: ': keep-alive\n\n',
}

/** A format of this API, with what it does otherwise than most. All formats have one hidden class. */
export function buildDialect(
  api: Api,
  own: Pick<Dialect, 'name' | 'readReport'> & Partial<Dialect>,
): Dialect {
  return { ...api, ...USUAL, ...own }
}
