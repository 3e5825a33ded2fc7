import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import type { ServerCertificate } from './certificates.ts'
import type { Owner } from './waiting.ts'

/** A real WebSocket service on loopback that sends back what it gets. */
export interface EchoService {
  port: number
  /** Heads of the handshakes it has seen. */
  seen: IncomingMessage[]
  sockets: Set<Socket>
  /** How often it was dialled, TLS or not. */
  connections(): number
}

export interface EchoOptions {
  onSocket?(socket: WebSocket, request: IncomingMessage): void
  /** Its handshakes are answered when this resolves. */
  accept?(): Promise<void>
  handleProtocols?(offered: Set<string>): string | false
  tls?: ServerCertificate
}

export async function startEcho(t: Owner, options: EchoOptions = {}): Promise<EchoService> {
  const { accept } = options
  const http = options.tls ? createTlsServer(options.tls) : createServer()
  http.on('request', (_request, response) => response.writeHead(404).end())
  const service = new WebSocketServer({
    server: http,
    ...(accept ? { verifyClient: (_info, done) => void accept().then(() => done(true)) } : {}),
    ...(options.handleProtocols ? { handleProtocols: options.handleProtocols } : {}),
  })
  const seen: IncomingMessage[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  http.on('connection', (socket) => {
    connections += 1
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  service.on('connection', (socket, request) => {
    seen.push(request)
    socket.on('error', () => {})
    if (options.onSocket) return options.onSocket(socket, request)
    socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }))
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    http.close()
    await once(http, 'close')
  })
  return { port: (http.address() as AddressInfo).port, seen, sockets, connections: () => connections }
}
