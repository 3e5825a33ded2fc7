import { GatewayError } from '../../errors.ts'

export type Fields = Readonly<Record<string, unknown>>

export interface LineOptions {
  /** Applied before a long text is cut, since half a secret is no longer recognised. */
  redact(text: string): string
}

interface Name {
  isSecret: boolean
  /** The key as it stands in a line, with what goes before and after it. */
  key: string
}

/** The keys of every line: a field of the same name cannot forge them. */
const OURS = new Set(['time', 'level', 'msg'])
/** Stands in JSON as it is. */
const UNESCAPED = /^[ !#-[\]-~]*$/
const TEXT_CHARACTERS = 256
const STACK_CHARACTERS = 4000
const MOST_ENTRIES = 30
const MOST_LEVELS = 4
const MOST_NAMES = 1000
/** Whatever a caller hands over, a line stays readable for the tools that collect lines. */
const LINE_CHARACTERS = 16_384

/** Builds `{"time","level","msg",...fields}` from whatever a caller logs; control characters are JSON-escaped. */
export function buildLineWriter({ redact }: LineOptions) {
  const names = new Map<string, Name>()
  const readName = (name: string): Name => {
    const known = names.get(name)
    if (known !== undefined) return known
    const read = { isSecret: isSecretName(name), key: `,${JSON.stringify(cut(name, TEXT_CHARACTERS))}:` }
    if (names.size < MOST_NAMES) names.set(name, read)
    return read
  }
  const cut = (text: string, most: number): string =>
    text.length <= most ? text : `${redact(text).slice(0, most)}…`
  const readEntry = (name: string, value: unknown, depth: number): unknown => {
    if (readName(name).isSecret) return HIDDEN
    if (typeof value === 'string') return cut(value, name === 'stack' ? STACK_CHARACTERS : TEXT_CHARACTERS)
    if (typeof value !== 'object' || value === null) return readScalar(value)
    if (name === 'req' || name === 'res') return readExchange(value)
    if (value instanceof Error) return describeError(value)
    return depth >= MOST_LEVELS ? '[deep]' : readNested(value, depth)
  }
  const readNested = (value: object, depth: number): unknown => {
    if (Array.isArray(value))
      return value.slice(0, MOST_ENTRIES).map((entry) => readEntry('', entry, depth + 1))
    const fields: Record<string, unknown> = {}
    for (const name of Object.keys(value).slice(0, MOST_ENTRIES)) {
      fields[cut(name, TEXT_CHARACTERS)] = readEntry(name, Reflect.get(value, name), depth + 1)
    }
    return fields
  }
  const writeField = (name: string, value: unknown): string => {
    const { key, isSecret } = readName(name)
    if (typeof value === 'number' && Number.isFinite(value)) return `${key}${value}`
    if (typeof value === 'string' && !isSecret && value.length <= TEXT_CHARACTERS && UNESCAPED.test(value))
      return `${key}"${value}"`
    const written = JSON.stringify(readEntry(name, value, 0))
    return written === undefined ? '' : `${key}${written}`
  }
  const writeTime = buildClock()
  return (level: string, text: string, fields: readonly Fields[]): string => {
    const head = `{"time":"${writeTime()}","level":"${level}","msg":${JSON.stringify(cut(text, TEXT_CHARACTERS))}`
    try {
      const json = writeAll(fields, writeField)
      if (json.length <= LINE_CHARACTERS) return `${head}${json}}`
    } catch {
      // A getter or a proxy of a foreign object threw: the sentence still comes through.
    }
    return `${head},"fieldsLost":true}`
  }
}

/** Fields are written by hand, since a request's line has twenty: building an object first takes twice as long. */
function writeAll(all: readonly Fields[], writeField: (name: string, value: unknown) => string): string {
  let json = ''
  for (let index = 0; index < all.length; index += 1) {
    const fields = all[index] ?? {}
    for (const name in fields) {
      const value = fields[name]
      if (value === undefined || OURS.has(name) || isRepeated(all, index, name)) continue
      json += writeField(name, value)
    }
  }
  return json
}

/** The time of now; lines of the same millisecond share their text. */
function buildClock(): () => string {
  let [at, text] = [0, '']
  return () => {
    const now = Date.now()
    if (now === at) return text
    at = now
    text = new Date(now).toISOString()
    return text
  }
}

/** Whether a later part of the line has the same field: the later one counts. */
function isRepeated(all: readonly Fields[], index: number, name: string): boolean {
  for (let next = index + 1; next < all.length; next++) if (Object.hasOwn(all[next] ?? {}, name)) return true
  return false
}

function readScalar(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  return typeof value === 'function' || typeof value === 'symbol' ? undefined : value
}

/** What a line may say of a request or an answer: no URL, no headers, no body. */
function readExchange(value: object): Fields {
  const method: unknown = Reflect.get(value, 'method')
  const statusCode: unknown = Reflect.get(value, 'statusCode')
  return {
    method: typeof method === 'string' ? method.slice(0, 16) : undefined,
    statusCode: typeof statusCode === 'number' ? statusCode : undefined,
  }
}

/** What a line says of an error. */
interface ErrorFields {
  type: string
  code?: string
  message?: string
  stack?: string
  cause?: ErrorFields
}

const CODE = /^[A-Za-z0-9_.-]{1,64}$/

/** A foreign error's text can hold prompts and keys: only the frames below it are kept. */
function readFrames(error: Error): string {
  const stack = typeof error.stack === 'string' ? error.stack : ''
  const frames = error.message === '' ? stack : stack.replaceAll(error.message, '')
  return frames
    .split('\n')
    .filter((line) => /^ {4}at /.test(line))
    .join('\n')
    .slice(0, STACK_CHARACTERS)
}

function readCode(error: object): string | undefined {
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'string' && CODE.test(code) ? code : undefined
}

/** Our own errors keep their text; of a foreign one type, code and stack frames remain. */
function describeError(error: unknown, depth = 0): ErrorFields {
  if (!(error instanceof Error)) return { type: typeof error }
  const fields: ErrorFields = { type: error.constructor.name.slice(0, 64), code: readCode(error) }
  if (error instanceof GatewayError) fields.message = error.message
  else fields.stack = readFrames(error)
  if (error.cause !== undefined && depth < 2) fields.cause = describeError(error.cause, depth + 1)
  return fields
}

const HIDDEN = '[redacted]'

/** Names under which a secret, a prompt or a query string would stand, whatever their value. */
const SECRET_NAME =
  /^(proxy-?authorization|authorization|x-api-key|api[-_]?key|token|token[-_]?secret|secret|(set-)?cookie|password|master[-_]?token|headers?|raw[-_]?headers|body|payload|query|url|prompt|messages?|input)$/i

/** Tokens of ours and of the known providers; none of them crosses a line's end. */
const SECRET_TEXT =
  /gw-[A-Za-z0-9_-]{20,}|sk[-_][A-Za-z0-9_-]{16,}|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_-]{20,}|[Bb]earer +[^\s"\\]+/g

function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name)
}

/** Takes credentials out of a text, be it one field or many finished lines; `known` are exact secrets. */
export function buildRedactor(known: readonly string[]): (text: string) => string {
  // Short values would tear holes into ordinary words. In a finished line, a secret stands as JSON escapes it.
  const long = known.filter((secret) => secret.length >= 8)
  const exact = new Set([...long, ...long.map((secret) => JSON.stringify(secret).slice(1, -1))])
  return (text) => {
    let clean = text.replace(SECRET_TEXT, HIDDEN)
    for (const secret of exact) if (clean.includes(secret)) clean = clean.replaceAll(secret, HIDDEN)
    return clean
  }
}
