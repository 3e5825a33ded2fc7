import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { isModelName, MODEL_NAME } from '../config/catalog/model-name.ts'
import type { Endpoint } from '../dialects/endpoints.ts'
import { invalidRequest, missingModel } from '../errors.ts'
import { type Ask, FILE_TOKENS, MIN_AUDIO_BYTES_PER_SECOND, type OutgoingBody } from './ask.ts'
import { readBoundary } from './multipart-headers.ts'
import { createMultipartReader, type FormField } from './multipart-reader.ts'
import { openUpload, type Upload, type UploadLimits } from './multipart-upload.ts'

const PICTURE = 'data:image/png;base64,'

/**
 * Reads the form of an upload up to the fields that decide its price, which many clients send before the file: then
 * the file streams through. Where the file comes first it is read past onto disk. Throws `missing_model`,
 * `invalid_request`, `request_too_large`, `request_timeout`.
 */
export async function readMultipartAsk(
  endpoint: Endpoint,
  stream: IncomingMessage,
  limits: UploadLimits,
): Promise<Ask> {
  // A form under a key is read whole before its exchange begins: only then is it known whether it is the one of before.
  const hash = stream.headers['idempotency-key'] === undefined ? undefined : createHash('sha256')
  const boundary = readBoundary(stream.headers['content-type'] ?? '')
  const reader = createMultipartReader(boundary, hash)
  const upload = openUpload(stream, reader, limits)
  const field = (name: string): FormField | undefined => reader.fields.find((each) => each.name === name)
  // The number of images decides the price, wherever it stands.
  const wanted = endpoint.dialect.countsImages ? ['model', 'n'] : ['model']
  try {
    await upload.readHead(() => !hash && reader.pastHead && wanted.every(field))
    const form = readForm({ ...endpoint, boundary, pathModel: limits.pathModel }, field)
    const bytes = upload.length ?? limits.maxBytes
    const content = hash && { hash: hash.digest('hex'), bytes }
    return buildAsk(endpoint, upload, { ...form, content, bytes })
  } catch (error) {
    upload.close().catch(() => {})
    throw error
  }
}

interface Form {
  model: Model
  images: number
  /** Which may stand behind the file. */
  prompt(): string | undefined
}

/** Where the model's name stands, or a part that names it is to stand before all others. */
interface Model {
  value: string
  start: number
  end: number
  write(upstreamModel: string): Buffer
}

/** Where a form came to, what its path says of it, and what stands between its parts. */
interface AskedForm extends Endpoint, Pick<UploadLimits, 'pathModel'> {
  boundary: string
}

function readModel(
  { usualModel, pathModel, boundary }: AskedForm,
  named: FormField | undefined,
): Model | undefined {
  if (named) {
    const { value = '', start, end } = named
    if (pathModel !== undefined && value !== pathModel)
      throw invalidRequest('The path names another model than the form', { param: 'model' })
    return { value, start, end, write: (name) => Buffer.from(name) }
  }
  const value = pathModel ?? usualModel
  if (value === undefined) return undefined
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n`
  return { value, start: 0, end: 0, write: (name) => Buffer.from(`${head}${name}\r\n`) }
}

function readForm(endpoint: AskedForm, field: (name: string) => FormField | undefined): Form {
  const model = readModel(endpoint, field('model'))
  if (!model?.value) throw missingModel('Name a "model" field in the form', { param: 'model' })
  if (!isModelName(model.value)) throw invalidRequest(`"model" must be ${MODEL_NAME}`, { param: 'model' })
  // No other spelling of a number: readers differ in what they make of `0x10`, `1e1` and `010`.
  const count = field('n')?.value ?? '1'
  const images = /^[1-9]\d{0,2}$/.test(count) ? Number(count) : 0
  if (images < 1 || images > 128) throw invalidRequest('"n" must be from 1 to 128', { param: 'n' })
  return { model, images: endpoint.dialect.countsImages ? images : 0, prompt: () => field('prompt')?.value }
}

function buildAsk(
  endpoint: Endpoint,
  upload: Upload,
  { model, images, prompt, content, bytes }: Form & Pick<Ask, 'content'> & { bytes: number },
): Ask {
  let isSpent = false
  const mostTokens = FILE_TOKENS + Buffer.byteLength(prompt() ?? '')
  return {
    dialect: endpoint.dialect,
    model: model.value,
    besides: [],
    outputLimit: undefined,
    choices: 1,
    // A picture weighs more than the bytes of a small one.
    inputTokens: images > 0 ? mostTokens : Math.min(bytes, mostTokens),
    images,
    characters: 0,
    seconds: endpoint.dialect.countsSeconds ? Math.ceil(bytes / MIN_AUDIO_BYTES_PER_SECOND) : 0,
    isStream: false,
    wantsUsage: false,
    mustAskForUsage: false,
    content,
    text: () => Buffer.from(JSON.stringify({ prompt: prompt(), input: images > 0 ? PICTURE : undefined })),
    bodyFor(upstreamModel) {
      if (isSpent) return undefined
      const onStart = (): void => {
        isSpent = !upload.ended
      }
      return sendable(upload, model, upstreamModel, onStart)
    },
    discard() {
      upload.close().catch(() => {})
    },
  }
}

function sendable(
  upload: Upload,
  { start, end, write }: Model,
  upstreamModel: string,
  onStart: () => void,
): OutgoingBody {
  const { spool, memory } = upload
  const name = write(upstreamModel)
  const head = [memory.subarray(0, start), name, memory.subarray(end)]
  const length = upload.length === undefined ? undefined : upload.length - (end - start) + name.length
  if (upload.ended && !spool) return { body: head, length }
  async function* parts(): AsyncGenerator<Buffer> {
    onStart()
    if (spool) {
      yield* spool.read(0, start)
      yield name
      yield* spool.read(end, spool.bytes)
      return
    }
    yield* head
    yield* upload.rest()
  }
  return { body: Readable.from(parts(), { objectMode: false, highWaterMark: 256 * 1024 }), length }
}
