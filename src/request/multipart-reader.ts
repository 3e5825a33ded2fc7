import type { Hash } from 'node:crypto'
import { invalidRequest } from '../errors.ts'
import { isUtf8Name } from './body.ts'
import { ByteWindow } from './byte-window.ts'
import { FORM_FIELDS, foldFormName, foldName, ROUTING_FIELDS } from './guarded-fields.ts'
import { readPartHead } from './multipart-headers.ts'

/** A plain field of a form, and where its value stands in the body's bytes. */
export interface FormField {
  name: string
  /** Empty where nothing here reads it. */
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

const MAX_FIELD_BYTES = 1024 * 1024
/** The bound of all values that are read here, as they are kept: 32,000 letters of a prompt are 128 KiB at most. */
const MAX_KEPT_BYTES = 256 * 1024
/** The bound of a field that decides rights or money. */
const MAX_GUARDED_BYTES = 1024
const MAX_FIELDS = 100
/** Boundaries inside a line: each costs a search, as in a file of dashes. */
const MAX_NEAR_MISSES = 1000
const MAX_PART_HEADERS = 8 * 1024
const CR = 0x0d
const LF = 0x0a
const DASH = 0x2d
const LINE_END = Buffer.from('\r\n')
const HEADER_END = Buffer.from('\r\n\r\n')

/**
 * RFC 7578, part by part, wherever the chunks break. `hash` is fed with all of it but the boundary, which clients choose
 * anew each time. Throws `invalid_request`.
 */
export function createMultipartReader(boundary: string, hash?: Hash): MultipartReader {
  return new PartReader(boundary, hash)
}

class PartReader implements MultipartReader {
  readonly fields: FormField[] = []
  readonly #delimiter: Buffer
  readonly #hash: Hash | undefined
  // A virtual line break in front lets the first boundary look like all others.
  readonly #window = new ByteWindow(LINE_END)
  #base = -2
  #inside: 'preamble' | 'headers' | 'field' | 'file' | 'end' = 'preamble'
  #fieldName = ''
  #fieldStart = 0
  /** Whether the field's value is read by somebody. */
  #keeps = false
  #kept = 0
  #parts = 0
  #sawFile = false
  #nearMisses = 0
  /** What only one reading may have, as far as it was seen. */
  readonly #guarded = new Set<string>()

  constructor(boundary: string, hash: Hash | undefined) {
    this.#hash = hash
    this.#delimiter = Buffer.from(`--${boundary}`, 'latin1')
  }

  get pastHead(): boolean {
    return this.#sawFile || this.complete
  }

  get complete(): boolean {
    return this.#inside === 'end'
  }

  push(chunk: Buffer): void {
    this.#window.append(chunk)
    while (!this.complete && (this.#inside === 'headers' ? this.#readHeaders() : this.#readContent()));
    if (this.complete) this.#checkEpilogue()
  }

  /** Reads up to the next delimiter; false: more bytes are needed. */
  #readContent(): boolean {
    const found = this.#findDelimiter()
    this.#checkPreamble(found)
    const afterDelimiter = found + this.#delimiter.length
    const { bytes } = this.#window
    if (found === -1 || bytes.length < afterDelimiter + 2) {
      this.#keepWindowSmall(found)
      return false
    }
    const contentEnd = found - LINE_END.length
    if (this.#inside === 'field') this.#endField(contentEnd)
    this.#inside = bytes[afterDelimiter] === DASH ? 'end' : 'headers'
    this.#consume(contentEnd)
    this.#hash?.update('\r\n--')
    this.#skip(LINE_END.length + this.#delimiter.length + (this.complete ? 2 : 0))
    return true
  }

  /** What some readers skip is a form to others, where its lines end in another way. */
  #checkPreamble(found: number): void {
    if (this.#inside !== 'preamble') return
    const mostBefore = 2 * LINE_END.length
    const isLate = this.#window.bytes.length >= mostBefore + this.#delimiter.length
    if (found > mostBefore || (found === -1 && isLate))
      throw invalidRequest('The form must begin with its boundary')
  }

  #checkEpilogue(): void {
    if (!/^\r?\n?$/.test(this.#window.bytes.toString('latin1', 0, 3)))
      throw invalidRequest('The form must end with its closing boundary')
  }

  #endField(length: number): void {
    this.#checkLength(length)
    const end = this.#base + length
    const value = this.#keeps ? this.#window.bytes.toString('utf8', 0, length) : ''
    if (this.#keeps) this.#kept += length
    // HTML's own way to name a form's charset.
    if (foldName(this.#fieldName) === 'charset' && !isUtf8Name(value))
      throw invalidRequest('A form upload must be UTF-8, whatever its "_charset_" field says')
    this.fields.push({ name: this.#fieldName, value, start: this.#fieldStart, end })
  }

  /** Throws when the field is too long with those of its bytes that stand in the window. */
  #checkLength(length: number): void {
    const name = this.#fieldName
    const isGuarded = FORM_FIELDS.byFold.has(foldFormName(name))
    if (isGuarded && length > MAX_GUARDED_BYTES) throw invalidRequest(`The form field "${name}" is too long`)
    if (this.#keeps && this.#kept + length > MAX_KEPT_BYTES)
      throw invalidRequest('The prompts of a form may be 256 KiB long together')
    if (this.#base + length - this.#fieldStart > MAX_FIELD_BYTES)
      throw invalidRequest('A form field may be 1 MiB long; send more as a file')
  }

  /**
   * The boundary alone is searched, which other content does not hold in practice; then what stands around it is looked
   * at. At the start of a line, however that ends, it must be a delimiter to all readers or it is refused.
   */
  #findDelimiter(): number {
    for (;;) {
      const found = this.#window.find(this.#delimiter)
      const { bytes } = this.#window
      const before = bytes[found - 1]
      if (found === -1) return found
      if (found > 0 && before !== LF && before !== CR) {
        this.#nearMisses += 1
        if (this.#nearMisses > MAX_NEAR_MISSES)
          throw invalidRequest('The content of the form is full of its boundary')
        this.#window.passed(found + 1)
        continue
      }
      const after = found + this.#delimiter.length
      const next = bytes.toString('latin1', after, after + 2)
      if (before !== LF || bytes[found - 2] !== CR || !/^(?:\r\n?|--?)?$/.test(next))
        throw invalidRequest('A boundary of the form is not on a line of its own')
      return found
    }
  }

  #keepWindowSmall(found: number): void {
    const past = Math.max(0, this.#window.bytes.length - this.#delimiter.length - 4)
    if (this.#inside === 'field') this.#checkLength(past)
    if ((this.#inside === 'field' && this.#keeps) || found !== -1) return
    this.#consume(past)
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
    this.#fieldStart = this.#base
    this.#keeps =
      name === 'prompt' || foldName(name) === 'charset' || FORM_FIELDS.byFold.has(foldFormName(name))
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
