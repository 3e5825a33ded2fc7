import { connect, type Socket } from 'node:net'
import { createWaiting, type Owner } from './waiting.ts'

/** A client that writes bytes and keeps what comes back. */
export interface Wire {
  socket: Socket
  text(): string
  isClosed(): boolean
  isReset(): boolean
  until<T>(what: string, find: (text: string) => T | undefined | false, timeoutMs?: number): Promise<T>
  /** All that came until the other side closed. */
  whole(): Promise<string>
}

export function openWire(t: Owner, port: number, ...first: (string | Buffer)[]): Wire {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const waiting = createWaiting()
  let text = ''
  let isClosed = false
  let isReset = false
  socket.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1')
    waiting.check()
  })
  socket.on('error', (error) => {
    isReset = Reflect.get(error, 'code') === 'ECONNRESET'
  })
  socket.on('close', () => {
    isClosed = true
    waiting.check()
  })
  for (const each of first) socket.write(typeof each === 'string' ? Buffer.from(each, 'latin1') : each)
  return {
    socket,
    text: () => text,
    isClosed: () => isClosed,
    isReset: () => isReset,
    until: (what, find, timeoutMs) => waiting.until(what, () => find(text) || undefined, timeoutMs),
    whole: async () => {
      await waiting.until('the end of the connection', () => isClosed || undefined)
      return text
    },
  }
}

/** A request in bytes, that asks for the connection to be closed behind its answer. */
export function requestText(line: string, fields: readonly string[] = [], body = ''): string {
  const all = ['host: public.example', ...fields, 'connection: close']
  return `${line} HTTP/1.1\r\n${all.map((field) => `${field}\r\n`).join('')}\r\n${body}`
}
