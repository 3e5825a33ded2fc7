import type { IncomingMessage } from 'node:http'
import type { Deadline, Deadlines } from '../deadlines.ts'
import { bodyTooSlow, GatewayError, invalidRequest } from '../errors.ts'
import {
  type BodyLimits,
  LEAST_BYTES_PER_SECOND,
  noMemory,
  PACE_MS,
  ROOM_PATIENCE_MS,
  tooLarge,
  tooSlow,
} from './body.ts'
import { GatheredBytes } from './gathered-bytes.ts'
import type { MultipartReader } from './multipart-reader.ts'
import type { Lease } from './shared-bytes.ts'
import type { Spool, SpoolPlace } from './spool.ts'

/**
 * So much is kept in memory, so that it can be sent again; what is larger streams, or goes to disk while fields are
 * missing.
 */
const MEMORY_BYTES = 1024 * 1024
/** A pace is judged over so long a time of waiting for the client. */
const JUDGED_MS = 2 * PACE_MS

export interface UploadLimits extends BodyLimits {
  deadlines: Deadlines
  /** The model that the path names: the form may leave it out, but not name another one. */
  pathModel: string | undefined
  /** Where the part in memory is counted. */
  lease: Lease
  openSpool(): SpoolPlace
  /** Throws when an upload of so many bytes cannot be paid. */
  refuseUncovered(bytes: number): Promise<void>
}

/** One upload: what was read of it so far, and the client's stream for the rest. */
export interface Upload {
  readonly memory: Buffer
  readonly spool: Spool | undefined
  /** Nothing more comes: it can be sent as often as needed. */
  readonly ended: boolean
  /** The bytes of the whole, once they are known: announced, or all read. */
  readonly length: number | undefined
  /**
   * Reads until `isEnough`, and a small one to its end. Throws `invalid_request`, `request_too_large`,
   * `request_timeout`, `insufficient_quota`, `gateway_busy` and `spool_full`.
   */
  readHead(isEnough: () => boolean): Promise<void>
  /** What `readHead` has left, checked as it passes. */
  rest(): AsyncGenerator<Buffer>
  /** Lets go of what is kept, and of what the client still sends. */
  close(): Promise<void>
}

/** Opens an upload for reading, part by part. Throws `request_too_large`. */
export function openUpload(stream: IncomingMessage, reader: MultipartReader, limits: UploadLimits): Upload {
  const announced = Number(stream.headers['content-length'] ?? Number.NaN)
  if (announced > limits.maxBytes) throw tooLarge(limits.maxBytes)
  return new UploadReader(stream, reader, limits)
}

class UploadReader implements Upload {
  memory: Buffer = Buffer.alloc(0)
  spool: Spool | undefined
  ended = false
  readonly #stream: IncomingMessage
  readonly #chunks: AsyncIterator<Buffer>
  readonly #reader: MultipartReader
  readonly #limits: UploadLimits
  readonly #announced: number | undefined
  readonly #gathered = new GatheredBytes(MEMORY_BYTES)
  readonly #deadline: Deadline
  #onPause: () => void = () => {}
  #bytes = 0
  /** The time that was waited since the pace was judged last. */
  #waitedMs = 0
  #arrived = 0

  constructor(stream: IncomingMessage, reader: MultipartReader, limits: UploadLimits) {
    const announced = stream.headers['content-length']
    this.#announced = announced === undefined ? undefined : Number(announced)
    this.#stream = stream
    this.#chunks = stream.iterator({ destroyOnReturn: false })
    this.#reader = reader
    this.#limits = limits
    this.#deadline = limits.deadlines.open(() => this.#onPause())
  }

  get length(): number | undefined {
    return this.ended ? this.#bytes : this.#announced
  }

  async readHead(isEnough: () => boolean): Promise<void> {
    const { lease, refuseUncovered } = this.#limits
    if ((this.#announced ?? MEMORY_BYTES) >= MEMORY_BYTES) await refuseUncovered(this.#announced ?? 0)
    await this.#waitForRoom(Math.min(this.#announced ?? MEMORY_BYTES, MEMORY_BYTES))
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) {
      await this.#keep(chunk)
      if (this.spool || Math.max(this.#bytes, this.length ?? 0) <= MEMORY_BYTES) continue
      if (isEnough()) break
      if (this.#bytes > MEMORY_BYTES) await this.#moveToDisk()
    }
    lease.settle()
    this.memory = this.#gathered.take()
  }

  async *rest(): AsyncGenerator<Buffer> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) yield chunk
  }

  async close(): Promise<void> {
    this.#limits.lease.release()
    this.#deadline.stop()
    // An answer may come before the upload's end: what a client goes on sending is thrown away. The iterator, where it
    // waits for a piece, would wait on, and keep the stream from flowing.
    this.#chunks.return?.().catch(() => {})
    this.#stream.removeAllListeners('readable').resume()
    await this.spool?.close()
  }

  async #keep(chunk: Buffer): Promise<void> {
    if (this.spool) return this.spool.write(chunk)
    const hasRoom = this.#limits.lease.take(chunk.length)
    this.#gathered.copy(chunk)
    if (!hasRoom) await this.#patiently((...ends) => this.#limits.lease.waitForMore(...ends))
  }

  async #waitForRoom(bytes: number): Promise<void> {
    const { lease } = this.#limits
    if (!lease.begin(bytes)) await this.#patiently((...ends) => lease.waitToBegin(bytes, ...ends))
  }

  /** The rest stays in the socket until there is memory for it, but not for long. */
  #patiently(wait: (go: () => void, giveWay: () => void) => boolean): Promise<void> {
    const { lease } = this.#limits
    return new Promise((resolve, reject) => {
      const go = (): void => {
        this.#deadline.stop()
        resolve()
      }
      const giveWay = (): void => {
        this.#deadline.stop()
        reject(noMemory())
      }
      if (!wait(go, giveWay)) return reject(noMemory())
      this.#onPause = () => {
        lease.stopWaiting()
        reject(noMemory())
      }
      this.#deadline.start(ROOM_PATIENCE_MS)
    })
  }

  async #moveToDisk(): Promise<void> {
    const { lease, openSpool, refuseUncovered } = this.#limits
    await refuseUncovered(this.#announced ?? this.#bytes)
    this.spool = await openSpool().create(this.#announced)
    await this.spool.write(this.#gathered.take())
    lease.release()
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
    const from = performance.now()
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown): void => {
        this.#deadline.stop()
        if (cause instanceof GatewayError) reject(cause)
        else reject(bodyTooSlow('The connection closed before the upload was complete', { cause }))
      }
      const pass = (next: IteratorResult<Buffer>): void => {
        this.#deadline.stop()
        if (next.done || this.#isQuickEnough(next.value.length, performance.now() - from)) resolve(next)
        else reject(tooSlow())
      }
      this.#onPause = () =>
        reject(bodyTooSlow(`The upload paused for ${timeoutMs / 1000} seconds; send it again`))
      this.#deadline.start(timeoutMs)
      this.#chunks.next().then(pass, fail)
    })
  }

  /** Somebody who sends a byte now and then makes no pause, and holds everything for as long. */
  #isQuickEnough(bytes: number, waitedMs: number): boolean {
    this.#arrived += bytes
    this.#waitedMs += waitedMs
    if (this.#waitedMs < JUDGED_MS) return true
    const isQuick = this.#arrived >= (LEAST_BYTES_PER_SECOND * this.#waitedMs) / 1000
    this.#arrived = 0
    this.#waitedMs = 0
    return isQuick
  }
}
