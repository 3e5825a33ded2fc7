import { Transform } from 'node:stream'
import { gunzipSync, inflateSync } from 'node:zlib'
import { hostsOf, maskPrivate } from './private-text.ts'

/** A shorter key would tear holes into ordinary words. */
const LEAST_KEY_LENGTH = 8
/** Parts of a key count from here on, and only of a key that is long enough to have some. */
const LEAST_START = 12
const LEAST_END = 8
const LEAST_LENGTH_FOR_PARTS = 24
/** An error's text up to here is looked at as a whole. */
const MOST_ERROR_BYTES = 64 * 1024
const MOST_DECODED_BYTES = 1024 * 1024
const ASTERISK = 0x2a
const NOTHING: Buffer = Buffer.alloc(0)

/**
 * Puts asterisks in the place of a provider's own key in what the provider says: as many as the key has characters, so
 * that no length changes. The bytes are changed where they are; without a key in them they pass as they came.
 */
export class KeyMask {
  /** The key, and as JSON or a URL may write it. */
  readonly #needles: readonly [Buffer, ...Buffer[]]
  readonly #key: string
  /** The last bytes so far, where they may be the beginning of a key. */
  #held = NOTHING

  constructor(key: string) {
    this.#key = key
    this.#needles = needlesOf(key)
  }

  /** What of these bytes, and of those held back before, may leave. */
  pass(chunk: Buffer): Buffer {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    this.#held = NOTHING
    let begun = 0
    for (const needle of this.#needles) {
      for (let at = bytes.indexOf(needle); at !== -1; at = bytes.indexOf(needle, at + needle.length))
        bytes.fill(ASTERISK, at, at + needle.length)
      begun = Math.max(begun, begunBytes(bytes, needle))
    }
    if (begun === 0) return bytes
    this.#held = Buffer.from(bytes.subarray(bytes.length - begun))
    return bytes.subarray(0, bytes.length - begun)
  }

  /** How many bytes are held back. */
  get held(): number {
    return this.#held.length
  }

  /** What is held back and was no key after all. */
  rest(): Buffer {
    const bytes = this.#held
    this.#held = NOTHING
    return bytes
  }

  text(text: string): string {
    // A key with one spelling is plain ASCII: nearly every header is done with here.
    if (this.#needles.length === 1 && !text.includes(this.#key)) return text
    const bytes = Buffer.from(text, 'latin1')
    return Buffer.concat([this.pass(bytes), this.rest()]).toString('latin1')
  }

  /** An error's whole text: also long parts of the key. */
  whole(body: Buffer): Buffer {
    const bytes = Buffer.concat([this.pass(body), this.rest()])
    const [key] = this.#needles
    if (key.length >= LEAST_LENGTH_FOR_PARTS) maskParts(bytes, key)
    return bytes
  }
}

/** Undefined where there is nothing to hide. */
export function createKeyMask(key: string | undefined): KeyMask | undefined {
  return key !== undefined && key.length >= LEAST_KEY_LENGTH ? new KeyMask(key) : undefined
}

/** Headers without the key; the same object when it is in none. */
export function maskHeaders<T extends object>(headers: T, mask: KeyMask | undefined): T {
  if (!mask) return headers
  let masked: T | undefined
  for (const name in headers) {
    const value = headers[name]
    if (typeof value !== 'string') continue
    const clean = mask.text(value)
    if (clean !== value) masked = { ...(masked ?? headers), [name]: clean }
  }
  return masked ?? headers
}

/** The mask as a stream, for bodies that are piped. */
export function maskTransform(mask: KeyMask | ErrorMask): Transform {
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => done(null, mask.pass(chunk)),
    flush: (done) => done(null, mask.rest()),
  })
}

/** The text of a provider's refusal: held back until it is whole, for it may not leave in parts. */
export class ErrorMask {
  readonly #mask: KeyMask | undefined
  readonly #hosts: readonly string[]
  /** Nobody asked the provider to encode it, and nobody can look into it while it is encoded. */
  readonly #encoding: string | undefined
  #parts: Buffer[] | undefined = []
  #bytes = 0

  /** `origin` is where it comes from: nobody needs to know. */
  constructor(mask: KeyMask | undefined, encoding: string | undefined, origin = '') {
    this.#mask = mask
    this.#hosts = hostsOf(origin)
    this.#encoding = encoding === 'identity' ? undefined : encoding
  }

  /** The encoding is taken off, and the length with it. */
  headers<T extends object>(headers: T): T {
    if (this.#encoding === undefined) return headers
    const own = Object.entries(headers).filter(
      ([name]) => !['content-encoding', 'content-length'].includes(name),
    )
    return Object.fromEntries(own) as T
  }

  pass(chunk: Buffer): Buffer {
    if (!this.#parts) return this.#encoding === undefined ? this.#passLong(chunk) : NOTHING
    this.#parts.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes <= MOST_ERROR_BYTES) return NOTHING
    const bytes = Buffer.concat(this.#parts)
    this.#parts = undefined
    return this.#encoding === undefined ? this.#passLong(bytes) : NOTHING
  }

  rest(): Buffer {
    if (!this.#parts) return this.#mask?.rest() ?? NOTHING
    const bytes = Buffer.concat(this.#parts)
    this.#parts = []
    const plain = this.#encoding === undefined ? bytes : decode(bytes, this.#encoding)
    return maskPrivate(this.#mask?.whole(plain) ?? plain, this.#hosts)
  }

  #passLong(chunk: Buffer): Buffer {
    return this.#mask?.pass(chunk) ?? chunk
  }
}

/** Gives nothing where the body cannot be read: then nobody could say what stands in it. */
function decode(body: Buffer, encoding: string): Buffer {
  const limit = { maxOutputLength: MOST_DECODED_BYTES }
  try {
    if (encoding === 'gzip') return gunzipSync(body, limit)
    if (encoding === 'deflate') return inflateSync(body, limit)
  } catch {
    // It is broken.
  }
  return NOTHING
}

/** The key as it is comes first: no other spelling is shorter. */
function needlesOf(key: string): [Buffer, ...Buffer[]] {
  // Nearly every key: no writer has a second spelling for it.
  if (/^[\w.~-]+$/.test(key)) return [Buffer.from(key)]
  const quoted = JSON.stringify(key).slice(1, -1)
  const escaped = (digits: (code: string) => string): string =>
    key.replace(/[^\w.~-]/g, (letter) => `\\u00${digits(letter.charCodeAt(0).toString(16))}`)
  const others = new Set([
    quoted,
    quoted.replaceAll('/', '\\/'),
    escaped((code) => code.toLowerCase()),
    escaped((code) => code.toUpperCase()),
    encodeURIComponent(key),
  ])
  return [Buffer.from(key), ...[...others].filter((text) => text !== key).map((text) => Buffer.from(text))]
}

/** How many of the last bytes are the beginning of a needle that may go on in the next chunk. */
function begunBytes(bytes: Buffer, needle: Buffer): number {
  const last = bytes[bytes.length - 1] ?? 0
  // Blanks and line ends are in no key: nearly every event of a stream ends here.
  if (last <= 0x20) return 0
  for (
    let at = needle.lastIndexOf(last, needle.length - 2);
    at !== -1;
    at = at === 0 ? -1 : needle.lastIndexOf(last, at - 1)
  ) {
    const length = at + 1
    const start = bytes.length - length
    if (start >= 0 && bytes.compare(needle, 0, length, start) === 0) return length
  }
  return 0
}

function maskParts(bytes: Buffer, key: Buffer): void {
  const start = key.subarray(0, LEAST_START)
  for (let at = bytes.indexOf(start); at !== -1; at = bytes.indexOf(start, at + 1)) {
    let length = LEAST_START
    while (length < key.length && bytes[at + length] === key[length]) length++
    bytes.fill(ASTERISK, at, at + length)
  }
  const end = key.subarray(-LEAST_END)
  for (let at = bytes.indexOf(end); at !== -1; at = bytes.indexOf(end, at + 1)) {
    let length = LEAST_END
    while (length < key.length && at > 0 && bytes[at - 1] === key[key.length - length - 1]) {
      at -= 1
      length++
    }
    bytes.fill(ASTERISK, at, at + length)
  }
}
