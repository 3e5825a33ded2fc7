import { invalidJson, invalidRequest } from '../errors.ts'
import { isRecord } from '../metering/json.ts'
import { type Member, scanMembers } from './json-scan.ts'

const TRUE = 0x74
const FALSE = 0x66
const NULL = 0x6e

/** Top-level fields of a JSON body, each parsed only when asked for. The last of duplicates counts, as in every JSON parser. */
export class JsonFields {
  readonly #members: readonly Member[]
  readonly #body: Buffer

  /** Throws `invalid_json`. */
  constructor(body: Buffer) {
    this.#body = body
    this.#members = scanMembers(body)
    if (this.last('__proto__')) {
      throw invalidJson('The body may not have a "__proto__" field', { param: '__proto__' })
    }
  }

  /** All of that name, first to last. */
  all(name: string): readonly Member[] {
    return this.#members.filter(({ key }) => key === name)
  }

  last(name: string): Member | undefined {
    for (let at = this.#members.length - 1; at >= 0; at -= 1) {
      const member = this.#members[at]
      if (member?.key === name) return member
    }
    return undefined
  }

  value(name: string): unknown {
    const member = this.last(name)
    if (!member) return undefined
    // What the scanner let pass as a word is one of three, told apart by their first letters.
    const first = this.#body[member.start]
    if (first === TRUE || first === FALSE) return first === TRUE
    if (first === NULL) return null
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
