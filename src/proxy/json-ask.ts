import { invalidJson, invalidRequest, missingModel } from '../errors.ts'
import { inputBound } from '../metering/worst-case.ts'
import type { Endpoint } from '../routing/endpoints.ts'
import type { RequestBody } from '../upstream/request-body.ts'
import type { Ask } from './ask.ts'
import { type Member, scanMembers } from './json-scan.ts'
import { type Splice, sizeOf, spliceChunks, type WholeBody } from './whole.ts'

const MAX_MODEL_LENGTH = 256
/** One request's answers multiply its price: more than this is a mistake. */
const MAX_CHOICES = 128
const LIMIT_FIELDS = ['max_tokens', 'max_completion_tokens', 'max_output_tokens']

/** Reads a JSON body. Throws `invalid_json`, `missing_model` and `invalid_request`. */
export const readJsonAsk = (endpoint: Endpoint, { view, chunks }: WholeBody): Ask => {
  const fields = new Fields(view)
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
  const places = findPlaces(view, fields, mustAskForUsage)
  const limits = LIMIT_FIELDS.map((name) => fields.count(name)).filter((limit) => limit !== undefined)
  return {
    model,
    outputLimit: limits.length > 0 ? Math.max(...limits) : undefined,
    choices,
    inputTokens: inputBound(view),
    images: endpoint.kind === 'images' ? choices : 0,
    characters: endpoint.kind === 'speech' ? [...fields.text('input')].length : 0,
    seconds: 0,
    wantsUsage,
    mustAskForUsage,
    text: () => Buffer.concat(chunks),
    contentHash: undefined,
    bodyFor: (upstreamModel, askForUsage) => rewrite(chunks, places, upstreamModel, askForUsage),
    discard: () => {},
  }
}

const readModel = (fields: Fields): string => {
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

const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u

/** Control characters, line ends and halves of letters have no place in a name that goes into headers and logs. */
export const hasControl = (text: string): boolean => UNPRINTABLE.test(text)

/** Top-level fields by name, each parsed only when asked for. The last of duplicates counts, as in every JSON parser. */
class Fields {
  readonly members: readonly Member[]
  readonly #body: Buffer

  constructor(body: Buffer) {
    this.#body = body
    this.members = scanMembers(body)
    if (this.find('__proto__')) {
      throw invalidJson('The body may not have a "__proto__" field', { param: '__proto__' })
    }
  }

  find(name: string): Member | undefined {
    return this.members.findLast((member) => member.key === name)
  }

  value(name: string): unknown {
    const member = this.find(name)
    if (!member) return undefined
    try {
      return JSON.parse(this.#body.toString('utf8', member.start, member.end))
    } catch {
      throw invalidJson(`"${name}" is not valid JSON`, { param: name })
    }
  }

  flag(name: string): boolean {
    const value = this.value(name) ?? false
    if (typeof value !== 'boolean') throw invalidRequest(`"${name}" must be true or false`, { param: name })
    return value
  }

  count(name: string): number | undefined {
    const value = this.value(name) ?? undefined
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
    throw invalidRequest(`"${name}" must be a whole number, 0 or more`, { param: name })
  }

  text(name: string): string {
    const value = this.value(name) ?? ''
    if (typeof value === 'string') return value
    throw invalidRequest(`"${name}" must be a string`, { param: name })
  }

  object(name: string): Record<string, unknown> | undefined {
    const value = this.value(name) ?? undefined
    if (value === undefined) return undefined
    if (isRecord(value)) return value
    throw invalidRequest(`"${name}" must be an object`, { param: name })
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Where a body is rewritten. */
interface Places {
  /** Every top-level `model`, with its spelling. */
  models: readonly Splice[]
  usage: Splice | undefined
}

const findPlaces = (view: Buffer, fields: Fields, mustAskForUsage: boolean): Places => {
  const models: Splice[] = []
  for (const { key, start, end } of fields.members) {
    if (key === 'model') models.push({ start, end, text: view.toString('utf8', start, end) })
  }
  return { models, usage: mustAskForUsage ? usageSplice(view, fields) : undefined }
}

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
  const splices = models
    .filter((place) => place.text !== text)
    .map(({ start, end }) => ({ start, end, text }))
  if (askForUsage && usage) splices.push(usage)
  const pieces = spliceChunks(chunks, splices)
  const [only] = pieces
  if (pieces.length === 1 && only) return { body: only, length: undefined }
  return { body: pieces, length: sizeOf(pieces) }
}

const usageSplice = (view: Buffer, fields: Fields): Splice => {
  const options = fields.find('stream_options')
  if (!options) {
    const start = view.indexOf(0x7b) + 1
    return { start, end: start, text: '"stream_options":{"include_usage":true},' }
  }
  const text = view.toString('utf8', options.start, options.end)
  if (text === 'null') return { ...options, text: '{"include_usage":true}' }
  const close = options.end - 1
  const comma = Object.keys(JSON.parse(text)).length > 0 ? ',' : ''
  return { start: close, end: close, text: `${comma}"include_usage":true` }
}
