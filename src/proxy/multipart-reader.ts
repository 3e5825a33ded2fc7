import { invalidRequest } from '../errors.ts'

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
const HEADER_END = Buffer.from('\r\n\r\n')

/** The boundary of a `multipart/form-data` content type (RFC 2046 section 5.1.1). Throws `invalid_request`. */
export const readBoundary = (contentType: string): string => {
  const match = /;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))/i.exec(contentType)
  const boundary = match?.[1] ?? match?.[2]
  if (!boundary) throw invalidRequest('The content-type of a form upload must name its boundary')
  return boundary
}

/** RFC 7578, part by part, wherever the chunks break. Throws `invalid_request`. */
export const createMultipartReader = (boundary: string): MultipartReader => new PartReader(boundary)

class PartReader implements MultipartReader {
  readonly fields: FormField[] = []
  readonly #delimiter: Buffer
  // A virtual line break in front lets the first boundary look like all others.
  #window: Buffer = Buffer.from('\r\n')
  #base = -2
  #inside: 'preamble' | 'headers' | 'field' | 'file' | 'end' = 'preamble'
  #fieldName = ''
  #sawFile = false

  constructor(boundary: string) {
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
    const found = this.#window.indexOf(this.#delimiter)
    const afterDelimiter = found + this.#delimiter.length
    if (found === -1 || this.#window.length < afterDelimiter + 2) {
      this.#keepWindowSmall(found)
      return false
    }
    if (this.#inside === 'field') {
      if (this.fields.length >= MAX_FIELDS)
        throw invalidRequest(`The form has more than ${MAX_FIELDS} fields`)
      const value = this.#window.toString('utf8', 0, found)
      this.fields.push({ name: this.#fieldName, value, start: this.#base, end: this.#base + found })
    }
    this.#inside = this.#window[afterDelimiter] === 0x2d ? 'end' : 'headers'
    this.#consume(afterDelimiter)
    return !this.complete
  }

  #keepWindowSmall(found: number): void {
    if (this.#inside === 'field' && this.#window.length > MAX_FIELD_BYTES)
      throw invalidRequest('A form field is too long')
    if (this.#inside === 'field' || found !== -1) return
    this.#consume(Math.max(0, this.#window.length - this.#delimiter.length - 2))
  }

  #readHeaders(): boolean {
    const end = this.#window.indexOf(HEADER_END)
    if (end === -1) {
      if (this.#window.length > MAX_PART_HEADERS)
        throw invalidRequest('The headers of a form part are too long')
      return false
    }
    const headers = this.#window.toString('latin1', 0, end)
    this.#inside = /;\s*filename\*?=/i.test(headers) ? 'file' : 'field'
    this.#sawFile ||= this.#inside === 'file'
    const name = /[;\s]name=(?:"([^"]*)"|([^\s;]+))/i.exec(headers)
    this.#fieldName = name?.[1] ?? name?.[2] ?? ''
    this.#consume(end + HEADER_END.length)
    return true
  }

  #consume(bytes: number): void {
    this.#window = this.#window.subarray(bytes)
    this.#base += bytes
  }
}
