import { describeError } from './error-fields.ts'
import { HIDDEN, isSecretName } from './redact.ts'

export type Fields = Readonly<Record<string, unknown>>

export interface LineOptions {
  /** Applied before a long text is cut, since half a secret is no longer recognised. */
  redact(text: string): string
}

const TEXT_CHARACTERS = 256
const STACK_CHARACTERS = 4000
const MOST_ENTRIES = 30
const MOST_LEVELS = 4
const MOST_NAMES = 1000
/** Whatever a caller hands over, a line stays readable for the tools that collect lines. */
const LINE_CHARACTERS = 16_384

/** Builds `{"time","level","msg",...fields}` from whatever a caller logs; control characters are JSON-escaped. */
export const buildLineWriter = ({ redact }: LineOptions) => {
  const names = new Map<string, boolean>()
  const isSecret = (name: string): boolean => {
    const known = names.get(name)
    if (known !== undefined) return known
    const secret = isSecretName(name)
    if (names.size < MOST_NAMES) names.set(name, secret)
    return secret
  }
  const cut = (text: string, most: number): string =>
    text.length <= most ? text : `${redact(text).slice(0, most)}…`
  const readEntry = (name: string, value: unknown, depth: number): unknown => {
    if (isSecret(name)) return HIDDEN
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
  const addAll = (target: Record<string, unknown>, fields: Fields): void => {
    // The four keys of every line are ours: a field of the same name cannot forge them.
    for (const name in fields) {
      if (name !== 'time' && name !== 'level' && name !== 'msg')
        target[name] = readEntry(name, fields[name], 0)
    }
  }
  return (level: string, text: string, fields: readonly Fields[]): string => {
    const line: Record<string, unknown> = {
      time: new Date().toISOString(),
      level,
      msg: cut(text, TEXT_CHARACTERS),
    }
    try {
      for (const each of fields) addAll(line, each)
      const json = JSON.stringify(line)
      if (json.length <= LINE_CHARACTERS) return json
    } catch {
      // A getter or a proxy of a foreign object threw: the sentence still comes through.
    }
    return JSON.stringify({ time: line.time, level, msg: line.msg, fieldsLost: true })
  }
}

const readScalar = (value: unknown): unknown => {
  if (typeof value === 'bigint') return String(value)
  return typeof value === 'function' || typeof value === 'symbol' ? undefined : value
}

/** Of a request or an answer: no URL, no headers, no body. */
const readExchange = (value: object): Fields => {
  const method: unknown = Reflect.get(value, 'method')
  const statusCode: unknown = Reflect.get(value, 'statusCode')
  return {
    method: typeof method === 'string' ? method.slice(0, 16) : undefined,
    statusCode: typeof statusCode === 'number' ? statusCode : undefined,
  }
}
