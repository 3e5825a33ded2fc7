import type { Hash } from 'node:crypto'
import { invalidRequest } from '../errors.ts'
import { readPartHead } from './multipart-headers.ts'

/** A plain field of a form, and where its value stands in the body's bytes. */
export interface FormField {
  name: string
  value: string
  start: number
  end: number
}

/** Reads a multipart body as it passes, keeping fields but no file. */
export interface MultipartReader {
  push(chunk: Buffer): void
  readonly fields: readonly FormField[]
  /** A file part has begun, or the closing boundary was seen: what a client sends first has been read. */
  readonly pastHead: boolean
  readonly complete: boolean
}

const MAX_FIELD_BYTES = 64 * 1024
const MAX_FIELDS = 100
const MAX_PART_HEADERS = 8 * 1024
const TOO_LONG = 'A form field is longer than 64 KiB'
const HEADER_END = Buffer.from('\r\n\r\n')
/** Fields that decide who answers and what it costs: parsers differ in which of two they take. */
const ONLY_ONCE = ['model', 'n']

/**
 * RFC 7578, part by part, wherever the chunks break. `hash` is fed with all of it but the boundary, which clients choose
 * anew each time. Throws `invalid_request`.
 */
export const createMultipartReader = (boundary: string, hash?: Hash): MultipartReader =>
  new PartReader(boundary, hash)

class PartReader implements MultipartReader {
  readonly fields: FormField[] = []
  readonly #delimiter: Buffer
  readonly #hash: Hash | undefined
  // A virtual line break in front lets the first boundary look like all others.
  #window: Buffer = Buffer.from('\r\n')
  #base = -2
  #inside: 'preamble' | 'headers' | 'field' | 'file' | 'end' = 'preamble'
  #fieldName = ''
  #parts = 0
  #sawFile = false

  constructor(boundary: string, hash: Hash | undefined) {
    this.#hash = hash
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  }

  get pastHead(): boolean {
    return this.#sawFile || this.complete
  }

  get complete(): boolean {
    return this.#inside === 'end'
  }

  push(chunk: Buffer): void {
    if (this.complete) return
    this.#window = this.#window.length === 0 ? chunk : Buffer.concat([this.#window, chunk])
    while (this.#inside === 'headers' ? this.#readHeaders() : this.#readContent());
  }

  /** Up to the next delimiter; false: more bytes are needed, or there is nothing more. */
  #readContent(): boolean {
    const found = this.#findDelimiter()
    const afterDelimiter = found + this.#delimiter.length
    if (found === -1 || this.#window.length < afterDelimiter + 2) {
      this.#keepWindowSmall(found)
      return false
    }
    if (this.#inside === 'field') {
      if (found > MAX_FIELD_BYTES) throw invalidRequest(TOO_LONG)
      const value = this.#window.toString('utf8', 0, found)
      this.fields.push({ name: this.#fieldName, value, start: this.#base, end: this.#base + found })
    }
    this.#inside = this.#window[afterDelimiter] === 0x2d ? 'end' : 'headers'
    this.#consume(found)
    this.#hash?.update('\r\n--')
    this.#skip(this.#delimiter.length)
    return !this.complete
  }

  /** A boundary that goes on, as in `--abcd` for `abc`, is content; where parsers would disagree it is refused. */
  #findDelimiter(): number {
    for (let found = -1; ; ) {
      found = this.#window.indexOf(this.#delimiter, found + 1)
      const after = found + this.#delimiter.length
      if (found === -1 || this.#window.length < after + 2) return found
      const next = this.#window.toString('latin1', after, after + 2)
      if (next === '\r\n' || next === '--') return found
      if (/^[\s-]/.test(next)) throw invalidRequest('A boundary of the form is not on a line of its own')
    }
  }

  #keepWindowSmall(found: number): void {
    if (this.#inside === 'field' && this.#window.length > MAX_FIELD_BYTES + this.#delimiter.length + 2)
      throw invalidRequest(TOO_LONG)
    if (this.#inside === 'field' || found !== -1) return
    this.#consume(Math.max(0, this.#window.length - this.#delimiter.length - 2))
  }

  #readHeaders(): boolean {
    const end = this.#window.indexOf(HEADER_END)
    if (end > MAX_PART_HEADERS || (end === -1 && this.#window.length > MAX_PART_HEADERS))
      throw invalidRequest('The headers of a form part are too long')
    if (end === -1) return false
    const { name, isFile } = readPartHead(this.#window.toString('latin1', 0, end))
    this.#parts += 1
    if (this.#parts > MAX_FIELDS) throw invalidRequest(`The form has more than ${MAX_FIELDS} parts`)
    if (ONLY_ONCE.includes(name) && (isFile || this.fields.some((field) => field.name === name)))
      throw invalidRequest(`The form field "${name}" must be there once, as text`, { param: name })
    this.#inside = isFile ? 'file' : 'field'
    this.#sawFile ||= isFile
    this.#fieldName = name
    this.#consume(end + HEADER_END.length)
    return true
  }

  #consume(bytes: number): void {
    this.#hash?.update(this.#window.subarray(0, bytes))
    this.#skip(bytes)
  }

  #skip(bytes: number): void {
    this.#window = this.#window.subarray(bytes)
    this.#base += bytes
  }
}
