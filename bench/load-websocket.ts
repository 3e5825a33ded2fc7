// The echo service and its clients, in one process beside the candidate: opens sockets, keeps messages in flight, counts.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'

export interface SocketJob {
  url: string
  headers: Record<string, string>
  connections: number
  /** Messages on their way on each connection; 0: the sockets are idle. */
  inFlight: number
}

const text = JSON.stringify({ type: 'input_text', event_id: 'event_1', text: 'x'.repeat(78) })
const http = createServer()
new WebSocketServer({ server: http }).on('connection', (socket) => {
  socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }))
  socket.on('error', () => {})
})
http.listen(0, '127.0.0.1')
await once(http, 'listening')

let completed = 0
async function open({ url, headers, inFlight }: SocketJob): Promise<WebSocket> {
  const socket = new WebSocket(url, { headers })
  await once(socket, 'open')
  socket.on('message', () => {
    completed += 1
    if (inFlight > 0) socket.send(text)
  })
  for (let sent = 0; sent < inFlight; sent += 1) socket.send(text)
  return socket
}

process.on('message', async (ask: SocketJob | 'count') => {
  if (ask === 'count') return process.send?.({ at: 'count', completed })
  const sockets: WebSocket[] = []
  while (sockets.length < ask.connections) {
    const wave = Math.min(50, ask.connections - sockets.length)
    sockets.push(...(await Promise.all(Array.from({ length: wave }, () => open(ask)))))
  }
  process.send?.({ at: 'open' })
})
process.send?.({ at: 'listening', port: (http.address() as AddressInfo).port })
