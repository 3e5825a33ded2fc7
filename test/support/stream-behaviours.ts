import { once } from 'node:events'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { constants, createGzip } from 'node:zlib'
import type { Behaviour, Call, Head } from './behaviour.ts'
import { OPENAI_HEADERS } from './behaviour.ts'

/** How the bytes of events are cut into writes: one event each, byte by byte, inside every letter, or n bytes. */
export type Chunking = 'event' | 'bytes' | 'split-utf8' | number

export interface StreamOptions extends Head {
  delayMs?: number
  chunking?: Chunking
  gzip?: boolean
}

/** Cuts one event as `chunking` says. */
export function cutEvent(event: string, chunking: Chunking): Buffer[] {
  const bytes = Buffer.from(event)
  if (chunking === 'event') return [bytes]
  if (chunking === 'split-utf8') return cutInsideLetters(bytes)
  const size = chunking === 'bytes' ? 1 : chunking
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size),
  )
}

function cutInsideLetters(bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = []
  let start = 0
  bytes.forEach((byte, at) => {
    if (byte < 0xc0) return
    pieces.push(bytes.subarray(start, at + 1))
    start = at + 1
  })
  pieces.push(bytes.subarray(start))
  return pieces
}

/** Server-sent events with the headers of a real one. */
export function sse(events: readonly string[], options: StreamOptions = {}): Behaviour {
  return {
    async act(call) {
      openStream(call, options)
      const write = options.gzip ? gzipWriter(call) : plainWriter(call)
      for (const [index, event] of events.entries()) {
        if (index > 0 && options.delayMs !== undefined) await setTimeout(options.delayMs)
        for (const piece of cutEvent(event, options.chunking ?? 'event')) {
          if (call.res.destroyed) return
          await write(piece)
        }
      }
      await write(undefined)
    },
  }
}

function openStream({ res }: Call, { status = 200, headers = {}, gzip }: StreamOptions): void {
  res.writeHead(status, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    ...OPENAI_HEADERS,
    ...(gzip ? { 'content-encoding': 'gzip' } : {}),
    ...headers,
  })
  res.flushHeaders()
}

type Writer = (piece: Buffer | undefined) => Promise<void>

function plainWriter({ res }: Call): Writer {
  return async (piece) => {
    if (piece === undefined) {
      res.end()
      return
    }
    if (!res.write(piece) && !res.destroyed) await Promise.race([once(res, 'drain'), once(res, 'close')])
    // A turn of the loop between two writes: they leave as two packets.
    await setImmediate()
  }
}

function gzipWriter({ res }: Call): Writer {
  const gzip = createGzip()
  gzip.pipe(res)
  return async (piece) => {
    if (piece === undefined) {
      gzip.end()
      return
    }
    gzip.write(piece)
    await new Promise<void>((resolve) => gzip.flush(constants.Z_SYNC_FLUSH, resolve))
  }
}

/** A stream in the test's own hands: it answers one request, and only what the test says. */
export interface Controlled extends Behaviour {
  /** Resolves when the request is there. */
  opened: Promise<Call>
  write(bytes: string | Buffer): Promise<void>
  end(): Promise<void>
  reset(): Promise<void>
}

/** An answer that the test writes piece by piece. */
export function controlled(options: StreamOptions = {}): Controlled {
  const { promise: opened, resolve } = Promise.withResolvers<Call>()
  return {
    opened,
    act(call) {
      openStream(call, options)
      resolve(call)
    },
    async write(bytes) {
      const { res } = await opened
      await new Promise<void>((sent) => res.write(bytes, () => sent()))
    },
    async end() {
      const { res } = await opened
      res.end()
    },
    async reset() {
      const call = await opened
      call.reset()
    },
  }
}

/** Events without an end; stops by itself after ten seconds. */
export function endless({
  eventsPerSecond = 50,
  event = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
} = {}): Behaviour {
  return {
    async act(call) {
      openStream(call, {})
      const endAt = Date.now() + 10_000
      const write = plainWriter(call)
      while (!call.res.destroyed && Date.now() < endAt) {
        await write(Buffer.from(event))
        await setTimeout(1000 / eventsPerSecond)
      }
      call.res.end()
    },
  }
}
