import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import type { ServerCertificate } from './certificates.ts'
import { createWaiting, type Owner } from './waiting.ts'

export type RealtimeMessage = Record<string, unknown> & { type: string }

/** A realtime provider that does as told. */
export interface RealtimeProvider {
  url: string
  seen: IncomingMessage[]
  sockets: WebSocket[]
  /** How often it was dialled, TLS or not. */
  connections(): number
  received: RealtimeMessage[]
  until<T>(what: string, find: () => T | undefined): Promise<T>
}

export interface RealtimeBehaviour {
  /** Another answer than the upgrade. */
  refuse?: { status: number; body?: string } | undefined
  /** Refuses those handshakes alone. */
  refuses?(request: IncomingMessage): boolean
  /** Speaks TLS, under the name `localhost`. */
  tls?: ServerCertificate
  onMessage?(socket: WebSocket, message: RealtimeMessage, all: RealtimeMessage[]): void
}

/** What OpenAI reports in `response.done`. */
export function usageOf(input: number, output: number, cached = 0) {
  return {
    total_tokens: input + output,
    input_tokens: input,
    output_tokens: output,
    input_token_details: { text_tokens: input, audio_tokens: 0, cached_tokens: cached },
    output_token_details: { text_tokens: output, audio_tokens: 0 },
  }
}

export function sendEvent(socket: WebSocket, event: RealtimeMessage): void {
  socket.send(JSON.stringify(event))
}

/** One whole answer, as a client's `response.create` gets it. */
export function answer(socket: WebSocket, usage: object | null, text = 'hello'): void {
  sendEvent(socket, {
    type: 'response.created',
    event_id: 'e1',
    response: { id: 'r', status: 'in_progress' },
  })
  sendEvent(socket, { type: 'response.output_text.delta', event_id: 'e2', delta: text })
  sendEvent(socket, {
    type: 'response.done',
    event_id: 'e3',
    response: { id: 'r', status: 'completed', usage },
  })
}

export async function startRealtime(t: Owner, behaviour: RealtimeBehaviour = {}): Promise<RealtimeProvider> {
  const { tls } = behaviour
  const http = tls ? createTlsServer(tls) : createServer()
  http.on('request', (_request, response) => response.writeHead(404).end())
  const service = new WebSocketServer({ noServer: true })
  const waiting = createWaiting()
  const [seen, sockets, received]: [IncomingMessage[], WebSocket[], RealtimeMessage[]] = [[], [], []]
  let connections = 0
  http.on('connection', () => {
    connections += 1
  })
  http.on('upgrade', (request, socket, head) => {
    seen.push(request)
    socket.on('error', () => {})
    const { refuse, refuses } = behaviour
    if (refuse && (refuses?.(request) ?? true)) {
      const { status, body = '{"error":{"message":"no"}}' } = refuse
      const headers = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`
      socket.end(`HTTP/1.1 ${status} Refused\r\n${headers}connection: close\r\n\r\n${body}`)
      return waiting.check()
    }
    service.handleUpgrade(request, socket, head, (each) => {
      sockets.push(each)
      each.on('error', () => {})
      each.on('close', () => waiting.check())
      each.on('message', (raw) => {
        const message: RealtimeMessage = JSON.parse(String(raw))
        received.push(message)
        behaviour.onMessage?.(each, message, received)
        waiting.check()
      })
      waiting.check()
    })
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(async () => {
    for (const socket of sockets) socket.terminate()
    http.closeAllConnections()
    http.close()
    await once(http, 'close')
  })
  const { port } = http.address() as AddressInfo
  const origin = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`
  return {
    url: `${origin}/v1`,
    seen,
    sockets,
    received,
    connections: () => connections,
    until: waiting.until,
  }
}

/** A client of the gateway, with all it has got so far. */
export interface RealtimeClient {
  socket: WebSocket
  events: RealtimeMessage[]
  closed: Promise<{ code: number; reason: string }>
  send(event: RealtimeMessage): void
  until<T>(what: string, find: () => T | undefined, timeoutMs?: number): Promise<T>
  /** The answer's headers of the 101. */
  headers: IncomingMessage['headers']
}

export interface Refused {
  status: number
  headers: IncomingMessage['headers']
  body: string
}

interface Connect {
  url: string
  token?: string
  protocols?: string[]
  headers?: Record<string, string>
}

/** Connects, or says how it was refused. */
export async function connect(t: Owner, options: Connect): Promise<RealtimeClient | Refused> {
  const { token, protocols = [], headers = {} } = options
  const auth: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const socket = new WebSocket(options.url.replace(/^http/, 'ws'), protocols, {
    headers: { ...auth, ...headers },
  })
  t.teardown(() => socket.terminate())
  const waiting = createWaiting()
  const events: RealtimeMessage[] = []
  let upgrade: IncomingMessage['headers'] = {}
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => {
      resolve({ code, reason: String(reason) })
      waiting.check()
    })
  })
  socket.on('upgrade', (answered) => {
    upgrade = answered.headers
  })
  socket.on('error', () => {})
  socket.on('message', (raw) => {
    events.push(JSON.parse(String(raw)))
    waiting.check()
  })
  const first = await new Promise<'open' | Refused>((resolve, reject) => {
    socket.once('open', () => resolve('open'))
    socket.once('error', reject)
    socket.once('unexpected-response', async (_request, answered) => {
      const parts: Buffer[] = []
      for await (const part of answered) parts.push(part)
      resolve({
        status: answered.statusCode ?? 0,
        headers: answered.headers,
        body: String(Buffer.concat(parts)),
      })
    })
  })
  if (first !== 'open') return first
  const send = (event: RealtimeMessage): void => socket.send(JSON.stringify(event))
  return { socket, events, closed, send, until: waiting.until, headers: upgrade }
}

/** Connects where it must succeed. */
export async function open(t: Owner, options: Connect): Promise<RealtimeClient> {
  const client = await connect(t, options)
  if ('status' in client) throw new Error(`refused with ${client.status}: ${client.body}`)
  return client
}

/** Connects where it must be refused. */
export async function refused(t: Owner, options: Connect): Promise<Refused> {
  const client = await connect(t, options)
  if ('status' in client) return client
  throw new Error('the upgrade was not refused')
}
