import { WebSocket } from 'ws'
import { createWaiting, type Owner } from './waiting.ts'

/** A socket of the `ws` package, with what it has got so far. */
export interface TestSocket {
  ws: WebSocket
  messages: string[]
  closed: Promise<{ code: number; reason: string }>
  /** The headers of the 101. */
  headers: Record<string, string | string[] | undefined>
  /** Resolves with the next message. */
  next(): Promise<string>
}

export interface SocketOptions {
  headers?: Record<string, string>
  protocols?: string[]
}

/** Rejects when it does not open; `refused` of realtime.ts tells how it was refused. */
export function openSocket(t: Owner, url: string, options: SocketOptions = {}): Promise<TestSocket> {
  const { headers = {}, protocols = [] } = options
  const ws = new WebSocket(url.replace(/^http/, 'ws'), protocols, { headers })
  t.teardown(() => ws.terminate())
  const waiting = createWaiting()
  const messages: string[] = []
  let read = 0
  const socket: TestSocket = {
    ws,
    messages,
    headers: {},
    closed: new Promise((resolve) => {
      ws.on('close', (code, reason) => resolve({ code, reason: String(reason) }))
    }),
    next: () =>
      waiting.until('a message', () => (messages.length > read ? messages[read++] : undefined), 15_000),
  }
  ws.on('upgrade', (answered) => {
    socket.headers = answered.headers
  })
  ws.on('message', (raw) => {
    messages.push(String(raw))
    waiting.check()
  })
  return new Promise((resolve, reject) => {
    ws.once('open', () => resolve(socket))
    ws.on('error', reject)
  })
}
