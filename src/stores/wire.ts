import type { Socket } from 'node:net'
import { asError, GatewayError, storeUnavailable } from '../errors.ts'
import { isRecord } from '../json.ts'

// JSON lines between a server and the guests of its folder. A guest asks `[id, method, arguments]` and is answered
// `[id, result]` or `[id, null, error]`; the first line of each is about versions.

export const GUESTS_SOCKET = 'guests.sock'
/** Bumped when a guest of before could no longer be served. */
export const WIRE_VERSION = 1
/** What a server of version 1 may lack; it says in its welcome what it has of them. */
export const LATER_CALLS: readonly string[] = ['noteRows', 'noteRowsAgain']

const MOST_CHARACTERS = 256 * 1024 * 1024
/** Beyond it nothing more is read from who does not read. */
const MOST_UNREAD_BYTES = 8 * 1024 * 1024

const BYTES = '$bytes'

/** `undefined` becomes null, on both ends, and bytes become base64: no field of the stores is an object with that key. */
export function writeLine(line: readonly unknown[]): string {
  return `${JSON.stringify(line, writeBytes)}\n`
}

function writeBytes(this: unknown, key: string, value: unknown): unknown {
  // A Buffer has been made an object of numbers by now.
  const raw: unknown = isRecord(this) ? this[key] : undefined
  return raw instanceof Uint8Array ? { [BYTES]: Buffer.from(raw).toString('base64') } : value
}

export function readLine(text: string): unknown[] {
  const line: unknown = text.includes(BYTES) ? JSON.parse(text, readBytes) : JSON.parse(text)
  if (!Array.isArray(line)) throw new Error('a line is no list')
  return line
}

function readBytes(_key: string, value: unknown): unknown {
  if (!isRecord(value) || typeof value[BYTES] !== 'string') return value
  return Buffer.from(value[BYTES], 'base64')
}

/** Calls with each line of the other side; one that cannot be read, or has no end, ends the connection. */
export function onLines(socket: Socket, take: (line: unknown[]) => void): void {
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    rest += text
    if (rest.length > MOST_CHARACTERS) socket.destroy()
    if (!text.includes('\n')) return
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    try {
      for (const line of lines) take(readLine(line))
    } catch (error) {
      socket.destroy(asError(error))
    }
  })
}

/** Sends an answer; no further questions are read while nobody takes the answers. */
export function answerLine(socket: Socket, line: readonly unknown[]): void {
  if (socket.destroyed) return
  socket.write(writeLine(line))
  if (socket.writableLength < MOST_UNREAD_BYTES || socket.isPaused()) return
  socket.pause()
  socket.once('drain', () => socket.resume())
}

/** A refusal as the other side throws it again. */
export function writeError(thrown: unknown): object {
  if (thrown instanceof GatewayError) {
    const { statusCode, code, type, param, retryAfterMs, passing, message } = thrown
    return { statusCode, code, type, param, retryAfterMs, passing, message }
  }
  const { name, message } = asError(thrown)
  return { name, message }
}

export function readError(value: unknown): Error {
  const { name, statusCode, code, type, param, retryAfterMs, passing, message } = isRecord(value) ? value : {}
  const text = String(message)
  if (name === 'RangeError') return new RangeError(text)
  if (typeof statusCode !== 'number') return storeUnavailable('The store failed', { cause: new Error(text) })
  const row = { status: statusCode, code: String(code), type: String(type), passing: passing === true }
  return new GatewayError(row, text, {
    ...(typeof param === 'string' ? { param } : {}),
    ...(typeof retryAfterMs === 'number' ? { retryAfterMs } : {}),
  })
}
