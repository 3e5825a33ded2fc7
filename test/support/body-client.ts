import { connect, type Socket } from 'node:net'
import { createWaiting, type Owner } from './waiting.ts'

const PATIENCE_MS = 60_000

/** A client that sends a body as it likes, byte by byte if it must. */
export interface BodyClient {
  socket: Socket
  /** Resolves when the socket has room again, or is answered or gone. */
  write(bytes: Buffer | string): Promise<void>
  said(): string
  /** The status line and headers of the answer, and as much of its body as came with them. */
  answer(): Promise<string>
  /** No connection any more. */
  closed(): Promise<void>
}

export interface BodyHead {
  port: number
  token?: string
  path?: string
  /** Bytes of the body; undefined: in chunks. */
  length?: number | undefined
  type?: string
  /** An `Idempotency-Key`. */
  key?: string
}

/** Sends a request's head. */
export function openBody(t: Owner, { port, token, path, length, type, key }: BodyHead): BodyClient {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const waiting = createWaiting()
  let said = ''
  let isClosed = false
  socket.on('data', (bytes) => {
    said += bytes.toString('latin1')
    waiting.check()
  })
  socket.on('error', () => undefined).on('drain', () => waiting.check())
  socket.on('close', () => {
    isClosed = true
    waiting.check()
  })
  socket.write(
    `POST ${path ?? '/v1/chat/completions'} HTTP/1.1\r\nHost: a\r\n` +
      (token === undefined ? '' : `Authorization: Bearer ${token}\r\n`) +
      (key === undefined ? '' : `Idempotency-Key: ${key}\r\n`) +
      `Content-Type: ${type ?? 'application/json'}\r\n` +
      (length === undefined ? 'Transfer-Encoding: chunked\r\n\r\n' : `Content-Length: ${length}\r\n\r\n`),
  )
  const isOver = () => isClosed || said.length > 0
  return {
    socket,
    said: () => said,
    async write(bytes) {
      if (isOver() || socket.write(bytes, 'latin1')) return
      await waiting.until(
        'room to write',
        () => isOver() || !socket.writableNeedDrain || undefined,
        PATIENCE_MS,
      )
    },
    answer: () =>
      waiting.until(
        'an answer',
        () => (isClosed || /\r\n\r\n.*\}/s.test(said) ? said : undefined),
        PATIENCE_MS,
      ),
    closed: async () => {
      await waiting.until('the end of the connection', () => isClosed || undefined, PATIENCE_MS)
    },
  }
}

/** The bytes in HTTP chunks of this size, without the last chunk. */
export function inChunks(bytes: Buffer, size: number): string {
  let all = ''
  for (let at = 0; at < bytes.length; at += size) {
    const chunk = bytes.toString('latin1', at, at + size)
    all += `${chunk.length.toString(16)}\r\n${chunk}\r\n`
  }
  return all
}

/** Sends all of it in chunks of this size, until somebody answers. */
export async function sendInChunks(client: BodyClient, bytes: Buffer, size: number): Promise<void> {
  const step = Math.max(1, Math.floor(60_000 / size)) * size
  for (let at = 0; at < bytes.length && client.said() === '' && !client.socket.destroyed; at += step)
    await client.write(inChunks(bytes.subarray(at, at + step), size))
  await client.write('0\r\n\r\n')
}
