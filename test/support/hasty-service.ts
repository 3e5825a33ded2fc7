import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { parentPort, Worker } from 'node:worker_threads'
import type { Owner } from './waiting.ts'

/** A service on a thread of its own that answers 413 in the middle of each body and hangs up, what it has not read or not. */
export interface HastyService {
  port: number
  /** Connects to this port, as often as it is hung up, and sends bytes as fast as they are taken. */
  pushTo(port: number): void
}

export async function startHastyService(t: Owner): Promise<HastyService> {
  const worker = new Worker(new URL(import.meta.url))
  t.teardown(() => worker.terminate())
  const [port] = await once(worker, 'message')
  return { port, pushTo: (to) => worker.postMessage(to) }
}

function answerHastily(): void {
  const server = createServer((socket) => {
    let bytes = 0
    socket
      .on('error', () => undefined)
      .on('data', (piece) => {
        bytes += piece.length
        if (bytes < 100_000 || socket.isPaused()) return
        socket.pause()
        socket.write('HTTP/1.1 413 Too much\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno', () =>
          socket.destroy(),
        )
      })
  }).listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port))
}

function push(port: number): void {
  const piece = Buffer.alloc(8 * 1024)
  const socket = connect(port, '127.0.0.1')
  const goOn = (): void => {
    while (!socket.destroyed && socket.write(piece));
  }
  socket
    .on('connect', goOn)
    .on('drain', goOn)
    .on('error', () => undefined)
    .on('close', () => setTimeout(push, 1, port))
}

if (parentPort) {
  answerHastily()
  parentPort.on('message', push)
}
