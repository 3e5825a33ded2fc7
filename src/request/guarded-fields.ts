import { invalidJson, invalidRequest } from '../errors.ts'
import { addToHash } from './json-tokens.ts'

/** A field that decides rights or money: it may stand once, and only as it is spelled here. */
export interface GuardedField {
  name: string
  /** The name's own. */
  bytes: Uint8Array
  /** Where it stands, such as `stream_options.include_usage`; the items of a list have the list's path. */
  path: string
  /** Its own power of two among the fields of its table. */
  bit: number
  /** The text of a value up to this length is kept. */
  keptBytes: number
  /** What is guarded in its value, an object or a list of objects. */
  inner: FieldTable | undefined
  /** Other spellings are other fields. */
  isExact: boolean
}

/** The guarded fields of one object. */
export interface FieldTable {
  byName: ReadonlyMap<string, GuardedField>
  byFold: ReadonlyMap<string, GuardedField>
  /**
   * The fields by `addToHash` of the fold: a name with another hash is none of them, and need not even become a string.
   */
  byHash: ReadonlyMap<number, GuardedField>
}

interface Shape {
  inner?: FieldTable
  keptBytes?: number
  isExact?: boolean
}

/** No name, number or word that is served is longer. */
const KEPT_BYTES = 2048

const NEITHER_LETTER_NOR_DIGIT = /[^\p{L}\p{N}]/gu

/**
 * What a lenient reader may take a name for: letters and digits alone, without case. Go folds case as Unicode does
 * (KELVIN SIGN is a k, LONG S an s), Java by upper and lower case, protojson and others read `maxTokens` for `max_tokens`,
 * some drop what they cannot decode, and some end a name at its first NUL.
 */
export function foldName(name: string): string {
  const end = name.indexOf('\0')
  const text = end === -1 ? name : name.slice(0, end)
  return text.normalize('NFKD').replace(NEITHER_LETTER_NOR_DIGIT, '').toUpperCase().toLowerCase()
}

/** The lower-case letter or the digit for each ASCII code; 0 for what `foldName` leaves out. */
export const FOLDED_ASCII: Uint8Array = Uint8Array.from({ length: 128 }, (_, code) => {
  const folded = foldName(String.fromCharCode(code))
  return folded === '' ? 0 : folded.charCodeAt(0)
})

function hashOf(fold: string): number {
  let hash = 0
  for (let at = 0; at < fold.length; at += 1) hash = addToHash(hash, fold.charCodeAt(at))
  return hash
}

/** The guarded field of this name. Throws `invalid_json` when the name is another spelling of one. */
export function findField(table: FieldTable, name: string): GuardedField | undefined {
  const field = table.byName.get(name) ?? table.byFold.get(foldName(name))
  if (!field || field.name === name) return field
  if (field.isExact) return undefined
  const { path: param } = field
  throw invalidJson(`Write "${param}" as it is: the body has another spelling of it`, { param })
}

/** Builds a table of at most 52 names: so many bits does a number hold exactly. */
export function guard(shapes: Readonly<Record<string, Shape>>, above = ''): FieldTable {
  const fields = Object.entries(shapes).map(
    ([name, { inner, keptBytes = KEPT_BYTES, isExact = false }], index): GuardedField => ({
      name,
      bytes: Buffer.from(name),
      path: above + name,
      bit: 2 ** index,
      keptBytes,
      inner,
      isExact,
    }),
  )
  return {
    byName: new Map(fields.map((field) => [field.name, field])),
    byFold: new Map(fields.map((field) => [foldName(field.name), field])),
    byHash: new Map(fields.map((field) => [hashOf(foldName(field.name)), field])),
  }
}

/**
 * What a router behind us would follow to another model, another account or another price: OpenRouter's lists and
 * preferences, LiteLLM's fallbacks, deployments and addresses, Vercel's options. They are refused and not compared with the token's
 * models: the answer's price is the asked model's, and a list that is allowed as a whole may still be dearer.
 */
export const ROUTING_FIELDS: readonly string[] = [
  'models',
  'route',
  'provider',
  'preset',
  'plugins',
  'fallbacks',
  'context_window_fallbacks',
  'content_policy_fallbacks',
  'model_list',
  'user_config',
  'api_base',
  'base_url',
  'api_key',
  'custom_llm_provider',
  'providerOptions',
  'extra_body',
  'engine',
  'deployment',
  'deployment_id',
  'model_id',
  'litellm_params',
  'fallback_models',
  'context_window_fallback_dict',
  'router_settings',
]

function plain(names: readonly string[]): Record<string, Shape> {
  return Object.fromEntries(names.map((name) => [name, {}]))
}

const PAID: Readonly<Record<string, Shape>> = {
  model: {},
  stream: {},
  stream_options: { inner: guard({ include_usage: {} }, 'stream_options.') },
  usage: { inner: guard({ include: {} }, 'usage.') },
  n: {},
  best_of: {},
  // Lists in these multiply what is paid for; what is in a conversation may be read twice.
  prompt: {},
  query: {},
  documents: {},
  context_management: {},
  max_tokens: {},
  max_completion_tokens: {},
  max_output_tokens: {},
  background: {},
  service_tier: {},
  // A hosted tool may name the model that it asks.
  tools: { inner: guard({ model: {} }, 'tools.') },
  // Its only lenient reading is the prototype of an object, in JavaScript; "proto" is a field like any other.
  ['__proto__']: { isExact: true },
  ...plain(ROUTING_FIELDS),
}

/** This is longer than any provider's limit of speech, and short enough to be counted at once. */
export const MAX_SPEECH_BYTES = 512 * 1024

/** The guarded fields of a paid request's body. */
export const PAID_FIELDS: FieldTable = guard(PAID)
/** The guarded fields where the input's characters are the price. */
export const SPEECH_FIELDS: FieldTable = guard({ ...PAID, input: { keptBytes: MAX_SPEECH_BYTES } })
/** The guarded fields of an upload's form, and of a query. */
export const FORM_FIELDS: FieldTable = guard(
  plain(['model', 'n', 'stream', 'background', 'service_tier', ...ROUTING_FIELDS]),
)
/**
 * What of a client's event says that it is a request, and that it goes on from an answer; the rest is as in its body. A
 * provider that knows realtime events as well would find another body in its `response`.
 */
export const CREATE_FIELDS: FieldTable = guard({ type: {}, previous_response_id: {}, response: {} })
/** The guarded fields of a realtime client's event. */
export const EVENT_FIELDS: FieldTable = guard({
  type: {},
  model: {},
  session: { inner: guard({ model: {} }, 'session.') },
  response: { inner: guard({ model: {} }, 'response.') },
})

/**
 * Refuses a URL whose query names what the body decides: some servers (LiteLLM) believe `?model=` before the body. Throws
 * `invalid_request`.
 */
export function checkQuery(url: string): void {
  for (const pair of url.slice(url.indexOf('?') + 1).split(/[&;]/)) {
    const param = FORM_FIELDS.byFold.get(foldFormName(decode(pair.split('=', 1)[0] ?? '')))?.path
    if (param !== undefined)
      throw invalidRequest(`Send "${param}" in the body alone, not in the query`, { param })
  }
}

/** What a reader may take the name of a form field for: `model[]` is a model too. */
export function foldFormName(name: string): string {
  const bracket = name.indexOf('[', 1)
  return foldName(decode(bracket === -1 ? name : name.slice(0, bracket)))
}

function decode(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  }
}
