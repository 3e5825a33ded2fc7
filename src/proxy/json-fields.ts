import { invalidJson } from '../errors.ts'
import { isRecord, type JsonRecord, parseJson } from '../metering/json.ts'
import { type Member, scanMembers } from './json-scan.ts'

/** Where a value stands in the body's bytes. */
export interface Place {
  start: number
  end: number
}

/** The top-level fields of a JSON body. The last of duplicates counts, as in every JSON parser. */
export interface JsonFields {
  /** Undefined when there is none of that name. Throws `invalid_json`. */
  value(name: string): unknown
  /** Of the values of all fields of that name, first to last. */
  places(name: string): readonly Place[]
}

/** Up to here the engine parses all of a body in less time than a look at each of its bytes takes. */
const PARSED_BYTES = 2048
/** Fewer brackets than this cannot nest too deep. */
const FEW_BRACKETS = 100
/** Letters may be spelled like this: a key that does not look like one. */
const ESCAPED_LETTER = /\\u00[4-7]/

/** Throws `invalid_json`. Large bodies are not parsed: only what is asked for. */
export const readFields = (body: Buffer): JsonFields =>
  (body.length <= PARSED_BYTES ? parseFields(body) : undefined) ?? new ScannedFields(body)

/** Undefined for whatever is wrong or odd: the scanner has the words and the means for it. */
const parseFields = (body: Buffer): JsonFields | undefined => {
  const text = body.toString()
  if (ESCAPED_LETTER.test(text) || countBrackets(text) > FEW_BRACKETS) return undefined
  const values = parseJson(text)
  if (!isRecord(values) || Object.hasOwn(values, '__proto__')) return undefined
  return new ParsedFields(body, text.length === body.length ? text : body.toString('latin1'), values)
}

const countBrackets = (text: string): number => {
  let count = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === 0x5b || code === 0x7b) count += 1
  }
  return count
}

class ParsedFields implements JsonFields {
  readonly #body: Buffer
  /** A character for each byte. */
  readonly #bytes: string
  readonly #values: JsonRecord

  constructor(body: Buffer, bytes: string, values: JsonRecord) {
    this.#body = body
    this.#bytes = bytes
    this.#values = values
  }

  value(name: string): unknown {
    return this.#values[name]
  }

  places(name: string): readonly Place[] {
    if (!Object.hasOwn(this.#values, name)) return []
    const only = this.#onlyPlace(name)
    return only ? [only] : new ScannedFields(this.#body).places(name)
  }

  /** What looks like the key occurs once, so this is it: no letter of a key is spelled as an escape here. */
  #onlyPlace(name: string): Place | undefined {
    const key = `"${name}"`
    const at = this.#bytes.indexOf(key)
    if (at === -1 || this.#bytes.indexOf(key, at + 1) !== -1) return undefined
    const start = valueStart(this.#bytes, at + key.length)
    const spelled = JSON.stringify(this.#values[name])
    return this.#bytes.startsWith(spelled, start) ? { start, end: start + spelled.length } : undefined
  }
}

/** Behind the colon and its white space; the text is known to be JSON. */
const valueStart = (text: string, afterKey: number): number => {
  let at = afterKey
  while (isBetween(text.charCodeAt(at))) at += 1
  return at
}

const isBetween = (code: number): boolean =>
  code === 0x3a || code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09

/** Each value is parsed only when it is asked for. */
class ScannedFields implements JsonFields {
  readonly #members: readonly Member[]
  readonly #body: Buffer

  constructor(body: Buffer) {
    this.#body = body
    this.#members = scanMembers(body)
    if (this.#find('__proto__')) {
      throw invalidJson('The body may not have a "__proto__" field', { param: '__proto__' })
    }
  }

  value(name: string): unknown {
    const member = this.#find(name)
    if (!member) return undefined
    try {
      return JSON.parse(this.#body.toString('utf8', member.start, member.end))
    } catch {
      throw invalidJson(`"${name}" is not valid JSON`, { param: name })
    }
  }

  places(name: string): readonly Place[] {
    return this.#members.filter(({ key }) => key === name)
  }

  #find(name: string): Member | undefined {
    return this.#members.findLast(({ key }) => key === name)
  }
}
