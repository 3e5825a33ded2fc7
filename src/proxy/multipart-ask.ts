import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { bodyTooSlow, invalidRequest, missingModel } from '../errors.ts'
import type { Endpoint } from '../routing/endpoints.ts'
import type { Ask, UpstreamBody } from './ask.ts'
import { tooLarge } from './body.ts'
import { createMultipartReader, type FormField, readBoundary } from './multipart-reader.ts'
import { openSpool, type Spool } from './spool.ts'

/** Kept in memory while the model is looked for; beyond, the upload goes to disk. */
const MEMORY_BYTES = 1024 * 1024
/** The lowest bit rate that recorded speech comes in: seconds are bounded by bytes. */
const MIN_AUDIO_BYTES_PER_SECOND = 2_000

/** Parts of one upload: what was read so far, and the client's stream for the rest. */
interface Upload {
  memory: Buffer[]
  spool: Spool | undefined
  bytes: number
  chunks: AsyncIterator<Buffer>
  ended: boolean
  maxBytes: number
}

/**
 * Reads the form of an upload up to its `model` field, which most clients send before the file: then the file streams
 * through. Where the file comes first it is read past onto disk. Throws `missing_model`, `invalid_request`,
 * `request_too_large`.
 */
export const readMultipartAsk = async (
  endpoint: Endpoint,
  stream: IncomingMessage,
  maxBytes: number,
): Promise<Ask> => {
  const announced = Number(stream.headers['content-length'] ?? Number.NaN)
  if (announced > maxBytes) throw tooLarge(maxBytes)
  const reader = createMultipartReader(readBoundary(stream.headers['content-type'] ?? ''))
  const chunks: AsyncIterator<Buffer> = stream.iterator({ destroyOnReturn: false })
  const upload: Upload = { memory: [], spool: undefined, bytes: 0, chunks, ended: false, maxBytes }
  try {
    await readHead(upload, reader)
  } catch (error) {
    await upload.spool?.close()
    throw error
  }
  const model = reader.fields.findLast((field) => field.name === 'model')
  if (!model?.value || model.value.length > 256) {
    await upload.spool?.close()
    throw missingModel('Name a "model" field in the form', { param: 'model' })
  }
  return buildAsk(endpoint, upload, { model, fields: reader.fields, announced })
}

const readHead = async (upload: Upload, reader: ReturnType<typeof createMultipartReader>): Promise<void> => {
  const hasModel = (): boolean => reader.fields.some((field) => field.name === 'model')
  while (!upload.ended && !(reader.pastHead && hasModel() && !upload.spool)) {
    const chunk = await nextChunk(upload)
    if (!chunk) break
    reader.push(chunk)
    if (upload.spool) await upload.spool.write(chunk)
    else upload.memory.push(chunk)
    if (!upload.spool && upload.bytes > MEMORY_BYTES && !hasModel()) {
      upload.spool = await openSpool()
      for (const kept of upload.memory.splice(0)) await upload.spool.write(kept)
    }
  }
  if (upload.ended && !reader.complete)
    throw invalidRequest('The form upload ends before its closing boundary')
}

const nextChunk = async (upload: Upload): Promise<Buffer | undefined> => {
  let next: IteratorResult<Buffer>
  try {
    next = await upload.chunks.next()
  } catch (cause) {
    throw bodyTooSlow('The connection closed before the upload was complete', { cause })
  }
  if (next.done) {
    upload.ended = true
    return undefined
  }
  upload.bytes += next.value.length
  if (upload.bytes > upload.maxBytes) throw tooLarge(upload.maxBytes)
  return next.value
}

interface Form {
  model: FormField
  fields: readonly FormField[]
  announced: number
}

const buildAsk = (endpoint: Endpoint, upload: Upload, form: Form): Ask => {
  const field = (name: string): string | undefined =>
    form.fields.findLast((each) => each.name === name)?.value
  const images = Math.trunc(Number(field('n') ?? 1))
  if (!(images >= 1 && images <= 128)) throw invalidRequest('"n" must be from 1 to 128', { param: 'n' })
  const bytes = Number.isNaN(form.announced) ? upload.maxBytes : form.announced
  const replayable = upload.ended
  let spent = false
  return {
    model: form.model.value,
    outputLimit: undefined,
    choices: 1,
    inputTokens: Math.min(bytes, 8_192),
    images: endpoint.kind === 'images' ? images : 0,
    characters: 0,
    seconds: endpoint.kind === 'transcription' ? Math.ceil(bytes / MIN_AUDIO_BYTES_PER_SECOND) : 0,
    wantsUsage: false,
    mustAskForUsage: false,
    text:
      field('prompt') === undefined ? undefined : Buffer.from(JSON.stringify({ prompt: field('prompt') })),
    bodyFor(upstreamModel) {
      if (spent) return undefined
      const onStart = (): void => {
        spent = !replayable
      }
      return sendable(upload, form, upstreamModel, onStart)
    },
    discard() {
      upload.spool?.close().catch(() => {})
    },
  }
}

const sendable = (upload: Upload, form: Form, upstreamModel: string, onStart: () => void): UpstreamBody => {
  const name = Buffer.from(upstreamModel)
  const { start, end } = form.model
  const length = Number.isNaN(form.announced) ? undefined : form.announced - (end - start) + name.length
  if (upload.ended && !upload.spool) {
    const whole = Buffer.concat(upload.memory)
    return { body: Buffer.concat([whole.subarray(0, start), name, whole.subarray(end)]), length: undefined }
  }
  async function* parts(): AsyncGenerator<Buffer> {
    onStart()
    if (upload.spool) {
      yield* upload.spool.read(0, start)
      yield name
      yield* upload.spool.read(end, upload.spool.bytes)
      return
    }
    const head = Buffer.concat(upload.memory)
    yield Buffer.concat([head.subarray(0, start), name, head.subarray(end)])
    for (let chunk = await nextChunk(upload); chunk; chunk = await nextChunk(upload)) yield chunk
  }
  return { body: Readable.from(parts(), { objectMode: false, highWaterMark: 256 * 1024 }), length }
}
