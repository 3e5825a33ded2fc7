import type { IncomingMessage } from 'node:http'
import { bodyTooSlow, GatewayError, invalidRequest } from '../errors.ts'
import { type BodyLimits, tooLarge } from './body.ts'
import type { MultipartReader } from './multipart-reader.ts'
import { openSpool, type Spool } from './spool.ts'

/** Kept in memory, so that it can be sent again; what is larger streams, or goes to disk while fields are missing. */
const MEMORY_BYTES = 1024 * 1024

/** One upload: what was read of it so far, and the client's stream for the rest. */
export interface Upload {
  readonly memory: readonly Buffer[]
  readonly spool: Spool | undefined
  /** Nothing more comes: it can be sent as often as needed. */
  readonly ended: boolean
  /** Bytes of the whole, once they are known: announced, or all read. */
  readonly length: number | undefined
  /** Until `isEnough`; a small one to its end. Throws `invalid_request`, `request_too_large`, `request_timeout`. */
  readHead(isEnough: () => boolean): Promise<void>
  /** What `readHead` has left, checked as it passes. */
  rest(): AsyncGenerator<Buffer>
  /** Lets go of what is kept, and of what the client still sends. */
  close(): Promise<void>
}

/** Opens an upload for reading, part by part. Throws `request_too_large`. */
export const openUpload = (stream: IncomingMessage, reader: MultipartReader, limits: BodyLimits): Upload => {
  const announced = Number(stream.headers['content-length'] ?? Number.NaN)
  if (announced > limits.maxBytes) throw tooLarge(limits.maxBytes)
  return new UploadReader(stream, reader, limits)
}

class UploadReader implements Upload {
  readonly memory: Buffer[] = []
  spool: Spool | undefined
  ended = false
  readonly #stream: IncomingMessage
  readonly #chunks: AsyncIterator<Buffer>
  readonly #reader: MultipartReader
  readonly #limits: BodyLimits
  readonly #announced: number | undefined
  #bytes = 0

  constructor(stream: IncomingMessage, reader: MultipartReader, limits: BodyLimits) {
    const announced = stream.headers['content-length']
    this.#announced = announced === undefined ? undefined : Number(announced)
    this.#stream = stream
    this.#chunks = stream.iterator({ destroyOnReturn: false })
    this.#reader = reader
    this.#limits = limits
  }

  get length(): number | undefined {
    return this.ended ? this.#bytes : this.#announced
  }

  async readHead(isEnough: () => boolean): Promise<void> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) {
      if (this.spool) await this.spool.write(chunk)
      else this.memory.push(chunk)
      if (this.spool || Math.max(this.#bytes, this.length ?? 0) <= MEMORY_BYTES) continue
      if (isEnough()) return
      if (this.#bytes > MEMORY_BYTES) await this.#moveToDisk()
    }
  }

  async *rest(): AsyncGenerator<Buffer> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) yield chunk
  }

  async close(): Promise<void> {
    await this.spool?.close()
    await this.#chunks.return?.()
    // An answer may come before the upload's end: a client that goes on sending must not wait for ever.
    this.#stream.resume()
  }

  async #moveToDisk(): Promise<void> {
    this.spool = await openSpool()
    for (const kept of this.memory.splice(0)) await this.spool.write(kept)
  }

  async #next(): Promise<Buffer | undefined> {
    const next = await this.#arriving()
    if (next.done) {
      this.ended = true
      if (this.#reader.complete) return undefined
      throw invalidRequest('The form upload ends before its closing boundary')
    }
    this.#bytes += next.value.length
    if (this.#bytes > this.#limits.maxBytes) throw tooLarge(this.#limits.maxBytes)
    this.#reader.push(next.value)
    return next.value
  }

  /** A client that stops sending is told so: without a limit of its own it would look like a slow provider. */
  #arriving(): Promise<IteratorResult<Buffer>> {
    const { timeoutMs } = this.#limits
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(bodyTooSlow(`The upload paused for ${timeoutMs / 1000} seconds; send it again`)),
        timeoutMs,
      )
      const fail = (cause: unknown): void =>
        reject(
          cause instanceof GatewayError
            ? cause
            : bodyTooSlow('The connection closed before the upload was complete', { cause }),
        )
      this.#chunks
        .next()
        .then(resolve, fail)
        .finally(() => clearTimeout(timer))
    })
  }
}
