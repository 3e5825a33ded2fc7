import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { isModelName, MODEL_NAME } from '../config/catalog/model-name.ts'
import type { Dialect } from '../dialects/dialect.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import { type GatewayError, invalidJson, invalidRequest, missingModel } from '../errors.ts'
import { InputBound, Multipliers } from '../metering/input-bound.ts'
import { TURN_MS } from '../turns.ts'
import type { Ask } from './ask.ts'
import {
  BodyCollector,
  brokenOff,
  COPIES_OF_SMALL,
  type Done,
  isPlainType,
  type JsonLimits,
  tooLarge,
} from './body.ts'
import { PAID_FIELDS, ROUTING_FIELDS, SPEECH_FIELDS } from './guarded-fields.ts'
import { findSpans, JsonFields, JsonReading, rewrite } from './json-fields.ts'

/** One request's answers multiply its price: more than this is a mistake. */
const MAX_CHOICES = 128
/** The other one is 0. */
const NO_LIMIT = -1

/**
 * Why a JSON body of this content type is refused: a reader could take its bytes for other letters than UTF-8 has them
 * for, by another charset, a second one, or words that readers split in different ways.
 */
export function findTypeMistake(contentType: string | undefined): GatewayError | undefined {
  // Nearly every request.
  if (contentType === 'application/json' || contentType === undefined || isPlainType(contentType))
    return undefined
  return invalidJson('Send JSON as "content-type: application/json" in UTF-8, without another charset')
}

/**
 * Gathers a body; refuses one that says or turns out to be too large, that does not arrive in time, that cannot be
 * paid, or for which there is no memory.
 */
export function collectBody(
  request: FastifyRequest,
  stream: IncomingMessage,
  limits: JsonLimits,
  done: Done,
): void {
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > limits.maxBytes) return done(tooLarge(limits.maxBytes))
  const lease = limits.memory.open(request.token.id)
  request.bodyLease = lease
  // Nearly always all of it came with the head, while the token was looked up: nothing to wait for, no listeners.
  // Read by its length: without one, Node may hand out the first of several pieces alone.
  const isHere = announced > 0 && stream.readableLength === announced
  const whole: Buffer | null = isHere ? stream.read(announced) : null
  if (whole && lease.takeIfRoom(whole.length * COPIES_OF_SMALL)) return done(null, [whole])
  const unreadable = brokenOff
  new BodyCollector(request, stream, { ...limits, lease, announced, done, unreadable }).start(whole)
}

/** What `collectBody` leaves; a form upload is its stream. */
export function isChunks(body: unknown): body is Buffer[] {
  return Array.isArray(body)
}

/** A body in one piece to read, and in the pieces in which it is sent on: the same memory. */
export interface WholeBody {
  view: Buffer
  chunks: readonly Buffer[]
}

/** The whole of what `collectBody` leaves: one piece, or none of an empty body. */
export function wholeOf(chunks: readonly Buffer[]): WholeBody {
  return {
    view: chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks),
    chunks,
  }
}

/** How a body is read that takes longer than a turn, and what its path says. */
export interface LongReading {
  /** The model that the path names: the body may leave it out, but not name another one. */
  pathModel?: string | undefined
  /** Calls the step again, once a turn, until it says true. */
  inTurns(step: () => boolean): Promise<void>
  /** Throws when this model is not served to this client: nothing more is read then. */
  refuse(model: string): void
}

/**
 * Reads a JSON body: at once where that takes no longer than a turn, else in turns. Throws `invalid_json`,
 * `missing_model` and `invalid_request`.
 */
export function readJsonAsk(endpoint: Endpoint, body: WholeBody, long: LongReading): Ask | Promise<Ask> {
  const { view } = body
  // A lenient reader decodes more than is UTF-8: to it such a body may have quotes, and fields, that are not seen here.
  if (!isUtf8(view)) throw invalidJson('The body must be UTF-8')
  const reading = new JsonReading(view, endpoint.dialect.countsCharacters ? SPEECH_FIELDS : PAID_FIELDS)
  const fields = new JsonFields(reading.scan)
  const bound = new InputBound(view)
  const times = new Multipliers(view)
  const step = (): boolean => reading.read(TURN_MS) && bound.step() && times.step(fields, bound.tokens)
  const read = { fields, bound, times, body, pathModel: long.pathModel }
  if (step()) return buildAsk(endpoint, read)
  let isServed = false
  const nextStep = (): boolean => {
    // Most clients name it first.
    if (!isServed && fields.find('model')) long.refuse(readModel(fields, endpoint, long.pathModel))
    isServed ||= fields.find('model') !== undefined
    return step()
  }
  return long.inTurns(nextStep).then(() => buildAsk(endpoint, read))
}

interface Read {
  fields: JsonFields
  bound: InputBound
  times: Multipliers
  body: WholeBody
  pathModel: string | undefined
}

function buildAsk(endpoint: Endpoint, read: Read): Ask {
  const {
    fields,
    bound,
    times,
    body: { view, chunks },
    pathModel,
  } = read
  const { dialect } = endpoint
  refuseOthers(fields, dialect)
  const model = readModel(fields, endpoint, pathModel)
  const stream = fields.flag('stream')
  const choices = readChoices(fields)
  fields.object('stream_options')
  const hasAsked = fields.value('stream_options.include_usage') === true
  const mustAskForUsage = dialect.asksForUsage && stream && !hasAsked
  const spans = findSpans(fields, view, mustAskForUsage)
  return {
    dialect,
    model,
    besides: fields.values('tools.model').filter(isThere).map(String),
    outputLimit: readOutputLimit(fields, dialect),
    choices: choices * times.prompts,
    inputTokens: bound.tokens + times.moreInputTokens,
    images: dialect.countsImages ? choices : 0,
    characters: dialect.countsCharacters ? lettersOf(fields.text('input')) : 0,
    seconds: 0,
    isStream: stream,
    // OpenRouter's clients ask in its own words, which others do not know.
    wantsUsage: hasAsked || fields.value('usage.include') === true,
    mustAskForUsage,
    text: () => view,
    content: undefined,
    bodyFor: (upstreamModel, askForUsage) => rewrite(chunks, spans, upstreamModel, askForUsage),
    discard: nothing,
  }
}

function nothing(): void {}

function isThere(value: unknown): boolean {
  return value !== null
}

function refuseOthers(fields: JsonFields, { hasBackground }: Dialect): void {
  if (fields.find('__proto__'))
    throw invalidJson('The body may not have a "__proto__" field', { param: '__proto__' })
  const param = fields.named().find((path) => ROUTING_FIELDS.includes(path))
  if (param !== undefined) {
    throw invalidRequest(
      `"${param}" is not served here: name one "model"; what else may answer is the operator's to say`,
      { param },
    )
  }
  // For an image it says what stands behind the picture: `transparent`, `opaque`, `auto`.
  const isInBackground = hasBackground ? fields.flag('background') : fields.value('background') === true
  if (isInBackground) {
    throw invalidRequest('"background" is not served here: its result could not be fetched', {
      param: 'background',
    })
  }
}

function readModel(fields: JsonFields, { usualModel }: Endpoint, pathModel: string | undefined): string {
  const own = fields.value('model')
  if (pathModel !== undefined && own !== undefined && own !== pathModel)
    throw invalidRequest('The path names another model than the body', { param: 'model' })
  const model = own ?? pathModel ?? usualModel
  if (model === undefined || model === '') {
    throw missingModel('Name a "model" in the body; GET /v1/models lists what your token may use', {
      param: 'model',
    })
  }
  if (typeof model === 'string' && isModelName(model)) return model
  throw invalidRequest(`"model" must be ${MODEL_NAME}`, { param: 'model' })
}

/** Each of `n` and `best_of` is a number of answers that are made and paid for. */
function readChoices(fields: JsonFields): number {
  const counts = ['n', 'best_of'].map((name) => {
    const count = fields.count(name) ?? 1
    if (count >= 1 && count <= MAX_CHOICES) return count
    throw invalidRequest(`"${name}" must be from 1 to ${MAX_CHOICES}`, { param: name })
  })
  return Math.max(...counts)
}

/** Whole letters, of one or two units each. */
function lettersOf(text: string): number {
  let letters = text.length
  for (let at = 1; at < text.length; at += 1) {
    const isSecond = (text.charCodeAt(at) & 0xfc00) === 0xdc00
    if (isSecond && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800) letters -= 1
  }
  return letters
}

/**
 * The largest of those that the client named; 0 and -1 are how some clients write that there is none, and then there is
 * none, whatever the others say.
 */
function readOutputLimit(fields: JsonFields, { outputLimitFields }: Dialect): number | undefined {
  let most: number | undefined
  for (const name of outputLimitFields) {
    const limit = fields.value(name) === NO_LIMIT ? 0 : fields.count(name)
    if (limit === 0) return undefined
    if (limit !== undefined && (most === undefined || limit > most)) most = limit
  }
  return most
}
