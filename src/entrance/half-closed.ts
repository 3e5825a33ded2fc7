import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { ServerResponse } from '../node-http.ts'

/** When a client that has said its last word is asked whether it still listens, each time after the one before. */
const PROBES_MS = [400, 4_000, 15_000, 60_000, 240_000]
/** How long the answer to that may be on its way; it is looked for twice. */
const ROUND_TRIPS_MS = [100, 600]
const KEEP_ALIVE_MS = 15_000

/**
 * A client may end its side after its request and still wait for the answer. One that has left altogether looks the same
 * until something is sent to it: so it is sent what no client minds, and a client that is gone resets the connection.
 */
export function watchClients(server: Server, refuseHalf: (socket: Socket) => void): void {
  // Without this Node ends the connection with the client's side of it.
  Reflect.set(server, 'httpAllowHalfOpen', true)
  server.on('connection', (socket: Socket) => {
    // Node remembers the address once it was asked for: `request.ip` is there also when the client is gone.
    if (socket.remoteAddress === undefined) socket.destroy()
    else
      socket.once('end', () => {
        if (isHalf(socket)) refuseHalf(socket)
        else probe(socket, refuseHalf)
      })
  })
}

/** A request whose body will never be whole: Node itself does not find it out where it ignores an upgrade. */
function isHalf(socket: Socket): boolean {
  const answer: unknown = Reflect.get(socket, '_httpMessage')
  return socket.writable && answer instanceof ServerResponse && !answer.req.complete
}

function probe(socket: Socket, refuseHalf: (socket: Socket) => void): void {
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
  const waits = PROBES_MS.values()
  let timer: NodeJS.Timeout | undefined
  const schedule = (ms: number, act: () => void): void => {
    timer = setTimeout(act, ms).unref()
  }
  const listen = (looks: readonly number[]): void => {
    const [ms, ...rest] = looks
    if (ms === undefined) return next()
    schedule(ms, () => {
      // A socket that has read its end hears of a reset only when it writes, be it nothing.
      if (socket.writable) socket.write('')
      listen(rest)
    })
  }
  const next = (): void => {
    const { value: waitMs } = waits.next()
    if (waitMs === undefined) return
    schedule(waitMs, () => {
      // It may have stood behind another one.
      if (isHalf(socket)) return refuseHalf(socket)
      ask(socket)
      listen(ROUND_TRIPS_MS)
    })
  }
  socket.once('close', () => clearTimeout(timer))
  next()
}

function ask(socket: Socket): void {
  const answer: unknown = Reflect.get(socket, '_httpMessage')
  if (!(answer instanceof ServerResponse) || answer.writableEnded) return
  if (!socket.writable || socket.writableLength > 0) return
  if (!answer.headersSent) {
    // Clients of HTTP/1.0 know no interim answers.
    if (answer.req.httpVersion === '1.1') answer.writeContinue()
    return
  }
  // The zero goes between two chunks, where a size may begin with zeros (RFC 9112 section 7.1).
  if (answer.chunkedEncoding && Reflect.get(answer, '_headerSent') === true) socket.write('0')
}
