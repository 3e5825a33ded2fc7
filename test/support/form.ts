import { createHash, randomBytes } from 'node:crypto'
import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { request as openRequest } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Behaviour, SeenRequest } from './behaviour.ts'

/** One part of a form: a plain field, or a file with its name and bytes. */
export type FormPart = [name: string, value: string] | [name: string, filename: string, bytes: Buffer]

export const BOUNDARY = 'form-boundary-of-a-test'

/** The bytes of a `multipart/form-data` body, as a browser would write it. */
export function formBody(parts: readonly FormPart[], boundary = BOUNDARY): Buffer {
  const bytes = parts.flatMap(([name, value, file]) => {
    const filename = file ? `; filename="${value}"\r\ncontent-type: application/octet-stream` : ''
    const head = `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${filename}\r\n\r\n`
    return [Buffer.from(head), file ?? Buffer.from(value), Buffer.from('\r\n')]
  })
  return Buffer.concat([...bytes, Buffer.from(`--${boundary}--\r\n`)])
}

/** The content type of such a body. */
export function formType(boundary = BOUNDARY): OutgoingHttpHeaders {
  return {
    'content-type': `multipart/form-data; boundary=${boundary}`,
  }
}

export interface UploadReply {
  status: number
  headers: IncomingMessage['headers']
  text: string
}

/** An upload whose bytes the test sends when it likes. */
export interface OpenUpload {
  /** Resolves when the socket has taken the bytes, or is gone. */
  write(bytes: Buffer | string): Promise<void>
  end(): void
  abort(): void
  /** The answer, which may come before the end of the upload. */
  reply: Promise<UploadReply>
}

/** Begins an upload; without a content length it goes out in chunks. */
export function openUpload(
  { port }: { port: number },
  path: string,
  headers: OutgoingHttpHeaders,
): OpenUpload {
  const sending = openRequest({ host: '127.0.0.1', port, method: 'POST', path, headers, agent: false })
  const reply = replyOf(sending)
  // Whoever does not look at the answer is not to fail by it.
  reply.catch(() => undefined)
  sending.flushHeaders()
  const write = (bytes: Buffer | string) =>
    new Promise<void>((done) => {
      sending.once('close', done)
      sending.write(bytes, () => {
        sending.off('close', done)
        done()
      })
    })
  return { write, end: () => sending.end(), abort: () => sending.destroy(), reply }
}

function replyOf(sending: ClientRequest): Promise<UploadReply> {
  return new Promise((resolve, reject) => {
    sending.on('error', reject)
    sending.once('response', (incoming: IncomingMessage) => {
      const { statusCode = 0, headers } = incoming
      text(incoming).then((body) => resolve({ status: statusCode, headers, text: body }), reject)
    })
  })
}

/** What a provider answers to a recording. */
export const TRANSCRIPT = { text: 'hello', usage: { type: 'duration', seconds: 3 } }

/** A recording to upload. */
export function audio(name = 'a.mp3', bytes = randomBytes(5_000)): FormPart {
  return ['file', name, bytes]
}

/** Reads an upload as it comes: its hash, and a word when so many bytes are there. */
export function listening(bytes = 0) {
  const reached = Promise.withResolvers<SeenRequest>()
  const whole = Promise.withResolvers<string>()
  const behaviour: Behaviour = {
    early: true,
    act({ seen, req, res }) {
      const hash = createHash('sha256')
      req.on('data', (piece: Buffer) => {
        hash.update(piece)
        if (seen.bodyBytes >= bytes) reached.resolve(seen)
      })
      req.on('end', () => {
        whole.resolve(hash.digest('hex'))
        res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(TRANSCRIPT))
      })
    },
  }
  return { behaviour, reached: reached.promise, hash: whole.promise }
}

/** The hash of such a body. */
export function hashOf(parts: readonly FormPart[], boundary = BOUNDARY): string {
  return createHash('sha256').update(formBody(parts, boundary)).digest('hex')
}
