import { invalidRequest, missingModel } from '../errors.ts'
import { inputBound } from '../metering/worst-case.ts'
import type { Endpoint } from '../routing/endpoints.ts'
import type { RequestBody } from '../upstream/request-body.ts'
import type { Ask } from './ask.ts'
import { JsonFields } from './json-fields.ts'
import { type Splice, sizeOf, spliceChunks, type WholeBody } from './whole.ts'

const MAX_MODEL_LENGTH = 256
/** One request's answers multiply its price: more than this is a mistake. */
const MAX_CHOICES = 128
const LIMIT_FIELDS = ['max_tokens', 'max_completion_tokens', 'max_output_tokens']

/** Reads a JSON body. Throws `invalid_json`, `missing_model` and `invalid_request`. */
export const readJsonAsk = (endpoint: Endpoint, { view, chunks }: WholeBody): Ask => {
  const fields = new JsonFields(view)
  const model = readModel(fields)
  const options = fields.object('stream_options')
  if (fields.flag('background')) {
    throw invalidRequest('"background" is not served here: its result could not be fetched', {
      param: 'background',
    })
  }
  const choices = fields.count('n') ?? 1
  if (choices < 1 || choices > MAX_CHOICES)
    throw invalidRequest(`"n" must be from 1 to ${MAX_CHOICES}`, { param: 'n' })
  const stream = fields.flag('stream')
  const wantsUsage = options?.include_usage === true
  const mustAskForUsage = endpoint.asksForUsage && stream && !wantsUsage
  const { kind } = endpoint
  const places = findPlaces(view, fields, mustAskForUsage)
  return {
    kind,
    model,
    outputLimit: readOutputLimit(fields),
    choices,
    inputTokens: inputBound(view),
    images: kind === 'images' ? choices : 0,
    characters: kind === 'speech' ? [...fields.text('input')].length : 0,
    seconds: 0,
    wantsUsage,
    mustAskForUsage,
    text: () => view,
    contentHash: undefined,
    bodyFor: (upstreamModel, askForUsage) => rewrite(chunks, places, upstreamModel, askForUsage),
    discard: nothing,
  }
}

const nothing = (): void => {}

const readModel = (fields: JsonFields): string => {
  const model = fields.value('model')
  if (model === undefined || model === null || model === '') {
    throw missingModel('Name a "model" in the body; GET /v1/models lists what your token may use', {
      param: 'model',
    })
  }
  if (typeof model !== 'string' || model.length > MAX_MODEL_LENGTH || hasControl(model)) {
    throw invalidRequest(`"model" must be a string of at most ${MAX_MODEL_LENGTH} printable characters`, {
      param: 'model',
    })
  }
  return model
}

const PLAIN = /^[\x20-\x7e]*$/
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u

/** Control characters, line ends and halves of letters have no place in a name that goes into headers and logs. */
export const hasControl = (text: string): boolean => !PLAIN.test(text) && UNPRINTABLE.test(text)

/** The largest of those that the client named. */
const readOutputLimit = (fields: JsonFields): number | undefined => {
  let most: number | undefined
  for (const name of LIMIT_FIELDS) {
    const limit = fields.count(name)
    if (limit !== undefined && (most === undefined || limit > most)) most = limit
  }
  return most
}

/** Where a body is rewritten. */
interface Places {
  /** Every top-level `model`, with its spelling. */
  models: readonly { start: number; end: number; text: string }[]
  usage: Splice | undefined
}

const findPlaces = (view: Buffer, fields: JsonFields, mustAskForUsage: boolean): Places => ({
  models: fields
    .all('model')
    .map(({ start, end }) => ({ start, end, text: view.toString('utf8', start, end) })),
  usage: mustAskForUsage ? usageSplice(view, fields) : undefined,
})

/**
 * The same bytes but for two things: every top-level `model` names the provider's model (all of them, so that a parser
 * that takes the first of duplicates sees what was authorised), and the usage chunk is asked for.
 */
const rewrite = (
  chunks: readonly Buffer[],
  { models, usage }: Places,
  upstreamModel: string,
  askForUsage: boolean,
): RequestBody => {
  const text = JSON.stringify(upstreamModel)
  const splices: Splice[] = []
  for (const place of models) {
    if (place.text !== text) splices.push({ start: place.start, end: place.end, bytes: Buffer.from(text) })
  }
  if (askForUsage && usage) splices.push(usage)
  const pieces = spliceChunks(chunks, splices)
  const [only] = pieces
  if (pieces.length === 1 && only) return { body: only, length: undefined }
  return { body: pieces, length: sizeOf(pieces) }
}

const ASKED = Buffer.from('{"include_usage":true}')
const ASKED_FIRST = Buffer.from('"stream_options":{"include_usage":true},')
const ASKED_ALONE = Buffer.from('"include_usage":true')
const ASKED_TOO = Buffer.from(',"include_usage":true')

const usageSplice = (view: Buffer, fields: JsonFields): Splice => {
  const options = fields.last('stream_options')
  if (!options) {
    const start = view.indexOf(0x7b) + 1
    return { start, end: start, bytes: ASKED_FIRST }
  }
  const text = view.toString('utf8', options.start, options.end)
  if (text === 'null') return { start: options.start, end: options.end, bytes: ASKED }
  const close = options.end - 1
  return {
    start: close,
    end: close,
    bytes: Object.keys(JSON.parse(text)).length > 0 ? ASKED_TOO : ASKED_ALONE,
  }
}
