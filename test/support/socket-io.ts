import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket as TcpSocket } from 'node:net'
import { Server } from 'socket.io'
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client'
import type { Owner } from './waiting.ts'

/** A real Socket.IO server: it answers `hello`, and says who it is. */
export interface ChatService {
  port: number
  url: string
  io: Server
  /** Every request and handshake it has seen, in order. */
  seen: IncomingMessage[]
  /** Ends it as a restart does: its sockets too. */
  stop(): Promise<void>
}

export interface ChatOptions {
  name?: string
  /** The port of the one before it. */
  port?: number
  /** Where it serves, as its clients behind the gateway name it or without their prefix. */
  path?: string
}

export async function startChat(t: Owner, options: ChatOptions = {}): Promise<ChatService> {
  const { name = 'chat', port = 0, path = '/socket.io' } = options
  const http = createServer()
  const seen: IncomingMessage[] = []
  const sockets = new Set<TcpSocket>()
  http.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  // It would compress if a client asked for it.
  const server = new Server(http, { path, perMessageDeflate: { threshold: 0 } })
  http.prependListener('request', (request) => void seen.push(request))
  http.prependListener('upgrade', (request) => void seen.push(request))
  server.on('connection', (socket) => {
    socket.on('hello', (word, answer) => answer(`${name} says ${word}`))
    socket.on('later', (ms) => void setTimeout(() => socket.emit('event', name), ms))
    socket.on('who', (answer) => answer(socket.handshake.headers))
  })
  http.listen(port, '127.0.0.1')
  await once(http, 'listening')
  const at = (http.address() as AddressInfo).port
  let isStopped = false
  const stop = async (): Promise<void> => {
    if (isStopped) return
    isStopped = true
    const closed = once(http, 'close')
    for (const socket of sockets) socket.destroy()
    void server.close()
    await closed
  }
  t.teardown(stop)
  return { port: at, url: `http://127.0.0.1:${at}`, io: server, seen, stop }
}

/** A client of Socket.IO, closed with the test; the URL's path is the namespace, `path` where it is served. */
export function joinChat(t: Owner, url: string, options: Partial<ManagerOptions & SocketOptions>): Socket {
  const socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 200, ...options })
  t.teardown(() => socket.disconnect())
  return socket
}

/** Resolves when it is connected, rejects with why it is not. */
export function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    if (socket.connected) return resolve()
    socket.once('connect', () => resolve())
    socket.once('connect_error', reject)
  })
}

/** By what it speaks with the server at the moment: `polling` or `websocket`. */
export function transportOf({ io: manager }: Socket): string {
  return manager.engine.transport.name
}

/** Resolves when polling has become a WebSocket. */
export function upgraded(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (transportOf(socket) === 'websocket') resolve()
    else socket.io.engine.once('upgrade', () => resolve())
  })
}
