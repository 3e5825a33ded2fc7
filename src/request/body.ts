import type { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import type { Deadline, Deadlines } from '../deadlines.ts'
import { bodyTooSlow, GatewayError, gatewayBusy, requestTooLarge } from '../errors.ts'
import { GatheredBytes } from './gathered-bytes.ts'
import type { Lease, SharedBytes } from './shared-bytes.ts'

export interface BodyLimits {
  maxBytes: number
  /** How long a JSON body may take to arrive as a whole; how long an upload may pause. */
  timeoutMs: number
}

/** What a body's time is kept with, and what its bytes are taken out of. */
export interface JsonLimits extends BodyLimits {
  deadlines: Deadlines
  memory: SharedBytes
  /** Throws when its length alone says that it cannot be paid. */
  refuseUncovered(request: FastifyRequest, bytes: number): Promise<void>
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Where a paid request's body is counted, from its parser on, while anybody may still need its bytes. */
    bodyLease: Lease | undefined
  }
}

/** Takes what was gathered, or why it was not. */
export type Done = (error: Error | null, body?: Buffer[]) => void

const MIB = 1024 * 1024
/** Bodies up to here cost nothing worth asking the store for. */
const SMALL_BYTES = 64 * 1024
/** What is set aside for a body of unknown length: nearly all are small, and a longer one grows by steps. */
const UNKNOWN_BYTES = SMALL_BYTES
/** A rewritten copy of a small body goes to the provider (`spliceChunks`): both are there for a while. */
export const COPIES_OF_SMALL = 2
/** How long a body waits in its socket for others to make room. */
export const ROOM_PATIENCE_MS = 5_000
/** Looked at so often, a body must have come at this pace; one slow look is forgiven: a phone changes its cell. */
export const PACE_MS = 5_000
export const LEAST_BYTES_PER_SECOND = 1_000
const SLOW_LOOKS = 2

interface CollectorOptions extends JsonLimits {
  lease: Lease
  announced: number
  done: Done
  /** What it means that the stream failed. */
  unreadable(cause?: Error): GatewayError
}

/** Where a body is read: `complete` says of a request that all of it is here. */
type BodyStream = Readable & { complete?: boolean }

/** A body that did not come with its head. */
export class BodyCollector {
  readonly #request: FastifyRequest
  readonly #stream: BodyStream
  readonly #options: CollectorOptions
  readonly #gathered: GatheredBytes
  readonly #deadline: Deadline
  #state: 'waiting' | 'reading' | 'over' = 'waiting'
  /** What is left of the time that it may take, while it is not the gateway that makes it wait. */
  #leftMs: number
  /** Of a body that does not say how long it is: when it is asked next whether so much of it can be paid. */
  #askAtBytes = SMALL_BYTES
  #seenBytes = 0
  #slowLooks = 0

  constructor(request: FastifyRequest, stream: BodyStream, options: CollectorOptions) {
    this.#request = request
    this.#stream = stream
    this.#options = options
    this.#gathered = new GatheredBytes(options.announced || options.maxBytes)
    this.#leftMs = options.timeoutMs
    this.#deadline = options.deadlines.open(() => this.#look())
  }

  start(whole: Buffer | null): void {
    this.#stream.once('error', this.#onClose).once('close', this.#onClose)
    const { announced, lease, refuseUncovered } = this.#options
    if (whole) {
      // It is here once; its copy is made later.
      lease.take(whole.length)
      return this.#waitForMore(() => {
        lease.take(whole.length * (COPIES_OF_SMALL - 1))
        this.#finish([whole])
      })
    }
    const isSmall = announced > 0 && announced <= SMALL_BYTES
    if (isSmall && lease.begin(announced * COPIES_OF_SMALL)) return this.#read()
    const checked = isSmall ? Promise.resolve() : refuseUncovered(this.#request, announced)
    checked.then(() => this.#begin(), this.#fail)
  }

  #begin(): void {
    if (this.#state === 'over') return
    const { announced, lease } = this.#options
    const bytes = announced || UNKNOWN_BYTES
    if (lease.begin(bytes)) return this.#read()
    if (!lease.waitToBegin(bytes, () => this.#read(), this.#giveWay)) return this.#fail(noMemory())
    this.#deadline.start(ROOM_PATIENCE_MS)
  }

  #read(): void {
    if (this.#state === 'over') return
    this.#state = 'reading'
    this.#keepTime()
    this.#stream.on('data', this.#onData).once('end', this.#onEnd)
  }

  readonly #onData = (chunk: Buffer): void => {
    const { lease, maxBytes } = this.#options
    // Gathered, a piece is gone, and its length with it.
    const { length } = chunk
    if (this.#gathered.bytes + length > maxBytes) return this.#fail(tooLarge(maxBytes))
    this.#gathered.add(chunk)
    if (this.#options.announced === 0 && this.#gathered.bytes >= this.#askAtBytes) this.#askAgain()
    if (lease.take(length) || this.#stream.complete) return
    this.#stream.pause()
    this.#waitForMore(() => {
      this.#keepTime()
      this.#stream.resume()
    })
  }

  /** At each doubling: an announced length says it before the first byte is read. */
  #askAgain(): void {
    const { bytes } = this.#gathered
    this.#askAtBytes = bytes * 2
    this.#options.refuseUncovered(this.#request, bytes).catch(this.#fail)
  }

  /** The memory is the others': the rest stays in the socket for a while. */
  #waitForMore(go: () => void): void {
    this.#state = 'waiting'
    const goOn = (): void => {
      this.#state = 'reading'
      go()
    }
    if (this.#options.lease.waitForMore(goOn, this.#giveWay)) this.#deadline.start(ROOM_PATIENCE_MS)
    else this.#fail(noMemory())
  }

  readonly #giveWay = (): void => this.#fail(noMemory())

  readonly #onEnd = (): void => this.#finish(this.#gathered.bytes > 0 ? [this.#gathered.take()] : [])

  readonly #onClose = (cause?: Error): void =>
    this.#fail(cause instanceof GatewayError ? cause : this.#options.unreadable(cause))

  #keepTime(): void {
    this.#deadline.start(Math.min(PACE_MS, this.#leftMs))
  }

  #look(): void {
    if (this.#state === 'waiting') return this.#fail(noMemory())
    const { timeoutMs } = this.#options
    const arrived = this.#gathered.bytes - this.#seenBytes
    this.#seenBytes = this.#gathered.bytes
    this.#leftMs -= PACE_MS
    this.#slowLooks = arrived < (LEAST_BYTES_PER_SECOND * PACE_MS) / 1000 ? this.#slowLooks + 1 : 0
    if (this.#leftMs <= 0)
      return this.#fail(
        bodyTooSlow(`The body did not arrive within ${timeoutMs / 1000} seconds; send it again`),
      )
    if (this.#slowLooks >= SLOW_LOOKS) return this.#fail(tooSlow())
    this.#keepTime()
  }

  readonly #fail = (error: Error): void => {
    if (this.#state === 'over') return
    this.#end()
    this.#gathered.discard()
    this.#options.lease.release()
    this.#stream.resume()
    this.#options.done(error)
  }

  #finish(body: Buffer[]): void {
    this.#end()
    this.#options.lease.settle()
    this.#options.done(null, body)
  }

  #end(): void {
    this.#state = 'over'
    this.#deadline.stop()
    this.#stream
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('error', this.#onClose)
      .off('close', this.#onClose)
  }
}

export function brokenOff(cause?: Error) {
  return bodyTooSlow('The connection closed before the body was complete', { cause })
}

export function tooLarge(maxBytes: number) {
  const most = maxBytes < MIB ? `${maxBytes} bytes` : `${Math.floor(maxBytes / MIB)} MiB`
  return requestTooLarge(`The body is larger than ${most}; send less at once`)
}

export function tooSlow() {
  return bodyTooSlow('The body arrives too slowly to be waited for (less than 1 kB a second); send it again')
}

export function noMemory() {
  return gatewayBusy(
    'Too many large bodies are on their way right now; send this one again in a moment, or one at a time',
  )
}

/** The charsets in which every reader sees what is checked here. */
const CHARSET = /^(?:utf-?8|us-ascii)$/i

export function isUtf8Name(charset: string): boolean {
  return CHARSET.test(charset)
}

/** What follows the media type; one `;` more at the end is common. */
const PARAMETERS = /^(?:[ \t]*;[ \t]*[\w!#$%&'*+.^`|~-]+=(?:[^\s;,"\\]+|"[^"\\]*"))*[ \t]*;?[ \t]*$/
const PARAMETER = /;[ \t]*([^=]+)=(?:"([^"]*)"|([^\s;]+))/g

/** Whether a content type names no charset but UTF-8, in words that all readers split alike. */
export function isPlainType(contentType: string): boolean {
  const start = contentType.indexOf(';')
  if (start === -1) return !contentType.includes(',')
  const parameters = contentType.slice(start)
  if (contentType.slice(0, start).includes(',') || !PARAMETERS.test(parameters)) return false
  const charsets = [...parameters.matchAll(PARAMETER)].filter(([, name = '']) => /^charset/i.test(name))
  const [charset] = charsets
  if (!charset) return !/charset/i.test(parameters)
  const [, name = '', quoted, bare = ''] = charset
  const isAlone = charsets.length === 1 && parameters.match(/charset/gi)?.length === 1
  return isAlone && /^charset$/i.test(name) && isUtf8Name(quoted ?? bare)
}
