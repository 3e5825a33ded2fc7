import type { Hash } from 'node:crypto'
import { invalidRequest } from '../errors.ts'
import { ByteWindow } from './byte-window.ts'
import { FORM_FIELDS, foldName, ROUTING_FIELDS } from './guarded-fields.ts'
import { readPartHead } from './multipart-headers.ts'
import { foldFormName, isUtf8Name } from './one-reading.ts'

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
  readonly #window = new ByteWindow(Buffer.from('\r\n'))
  #base = -2
  #inside: 'preamble' | 'headers' | 'field' | 'file' | 'end' = 'preamble'
  #fieldName = ''
  #parts = 0
  #sawFile = false
  /** What only one reading may have, as far as it was seen. */
  readonly #guarded = new Set<string>()

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
    this.#window.append(chunk)
    while (this.#inside === 'headers' ? this.#readHeaders() : this.#readContent());
  }

  /** Up to the next delimiter; false: more bytes are needed, or there is nothing more. */
  #readContent(): boolean {
    const found = this.#findDelimiter()
    const afterDelimiter = found + this.#delimiter.length
    const { bytes } = this.#window
    if (found === -1 || bytes.length < afterDelimiter + 2) {
      this.#keepWindowSmall(found)
      return false
    }
    if (this.#inside === 'field') this.#endField(found)
    this.#inside = bytes[afterDelimiter] === 0x2d ? 'end' : 'headers'
    this.#consume(found)
    this.#hash?.update('\r\n--')
    this.#skip(this.#delimiter.length)
    return !this.complete
  }

  #endField(length: number): void {
    if (length > MAX_FIELD_BYTES) throw invalidRequest(TOO_LONG)
    const value = this.#window.bytes.toString('utf8', 0, length)
    // HTML's own way to name a form's charset.
    if (foldName(this.#fieldName) === 'charset' && !isUtf8Name(value))
      throw invalidRequest('A form upload must be UTF-8, whatever its "_charset_" field says')
    this.fields.push({ name: this.#fieldName, value, start: this.#base, end: this.#base + length })
  }

  /** A boundary that goes on, as in `--abcd` for `abc`, is content; where parsers would disagree it is refused. */
  #findDelimiter(): number {
    for (;;) {
      const found = this.#window.find(this.#delimiter)
      const { bytes } = this.#window
      const after = found + this.#delimiter.length
      if (found === -1 || bytes.length < after + 2) return found
      const next = bytes.toString('latin1', after, after + 2)
      if (next === '\r\n' || next === '--') return found
      if (/^[\s-]/.test(next)) throw invalidRequest('A boundary of the form is not on a line of its own')
      this.#window.passed(found + 1)
    }
  }

  #keepWindowSmall(found: number): void {
    const { length } = this.#window.bytes
    if (this.#inside === 'field' && length > MAX_FIELD_BYTES + this.#delimiter.length + 2)
      throw invalidRequest(TOO_LONG)
    if (this.#inside === 'field' || found !== -1) return
    this.#consume(Math.max(0, length - this.#delimiter.length - 2))
  }

  #readHeaders(): boolean {
    const end = this.#window.find(HEADER_END)
    const { bytes } = this.#window
    if (end > MAX_PART_HEADERS || (end === -1 && bytes.length > MAX_PART_HEADERS))
      throw invalidRequest('The headers of a form part are too long')
    if (end === -1) return false
    const { name, isFile } = readPartHead(bytes.toString('utf8', 0, end))
    this.#parts += 1
    if (this.#parts > MAX_FIELDS) throw invalidRequest(`The form has more than ${MAX_FIELDS} parts`)
    this.#guard(name, isFile)
    this.#inside = isFile ? 'file' : 'field'
    this.#sawFile ||= isFile
    this.#fieldName = name
    this.#consume(end + HEADER_END.length)
    return true
  }

  /** Fields that decide who answers and what it costs: parsers differ in which of two or of two spellings they take. */
  #guard(name: string, isFile: boolean): void {
    const param = FORM_FIELDS.byFold.get(foldFormName(name))?.name
    if (param === undefined) return
    if (ROUTING_FIELDS.includes(param))
      throw invalidRequest(`"${param}" is not served here: name one "model"`, { param })
    if (name !== param || isFile || this.#guarded.has(param))
      throw invalidRequest(`The form field "${param}" must be there once, as text`, { param })
    this.#guarded.add(param)
  }

  #consume(bytes: number): void {
    this.#hash?.update(this.#window.bytes.subarray(0, bytes))
    this.#skip(bytes)
  }

  #skip(bytes: number): void {
    this.#window.skip(bytes)
    this.#base += bytes
  }
}
