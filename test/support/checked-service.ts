import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Owner } from './waiting.ts'

/** How a service answers, if it does; a slow one after `SLOW_MS`, a flaky one fails every third time. */
export type Mood = 'well' | 'slow' | 'flaky' | 'failing' | 'hanging' | 'resetting'

const SLOW_MS = 200

/** A service of one name, that feels as it is told. */
export interface CheckedService {
  origin: string
  port: number
  mood: Mood
  /** The paths that it was asked for. */
  asked: string[]
  /** The most of them that it had at once. */
  mostAtOnce: number
  /** It goes away at once, with all its connections. */
  stop(): Promise<void>
  /** It is there again, at the same port. */
  start(): Promise<void>
}

/** Answers with its name; told otherwise it says 503, says nothing, or resets the connection. */
export async function startCheckedService(t: Owner, name: string): Promise<CheckedService> {
  let running = 0
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    service.asked.push(request.url ?? '')
    running += 1
    service.mostAtOnce = Math.max(service.mostAtOnce, running)
    response.on('close', () => {
      running -= 1
    })
    if (service.mood === 'resetting') request.socket.resetAndDestroy()
    else if (service.mood === 'failing') response.writeHead(503).end(name)
    else if (service.mood === 'flaky')
      response.writeHead(service.asked.length % 3 === 0 ? 503 : 200).end(name)
    else if (service.mood === 'slow') setTimeout(() => response.end(name), SLOW_MS)
    else if (service.mood === 'well') response.end(name)
  }
  let server = createServer(answer)
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  const port = await listen(0)
  const stop = async () => {
    if (!server.listening) return
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  const start = async () => {
    server = createServer(answer)
    await listen(port)
  }
  const service: CheckedService = {
    origin: `http://127.0.0.1:${port}`,
    port,
    mood: 'well',
    asked: [],
    mostAtOnce: 0,
    stop,
    start,
  }
  t.teardown(stop)
  return service
}
