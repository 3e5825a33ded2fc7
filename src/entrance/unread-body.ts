import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ServerResponse } from '../node-http.ts'

/** How long a client that has its answer may go on sending what it asked with. */
const HEARING_MS = 3_000
/** And how much: as long as the longest upload. */
const HEARING_BYTES = 300 * 1024 * 1024
const LOOK_MS = 250

interface Heard {
  request: IncomingMessage
  socket: Socket
  untilMs: number
  /** The bytes are counted on the socket: what is thrown away passes no listener. */
  mostBytesRead: number
}

const hasBody = ({ headers }: IncomingMessage): boolean => {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = headers
  return length !== '0' || coding !== undefined
}

/**
 * The class of a server's responses, one for each server: whoever answers, and however. An answer may be out before its
 * request is in. Closed at once, the connection would be reset under the client's hands and the answer lost (RFC 9112
 * section 9.6); so the rest is read and thrown away, but not for ever: then the connection goes. A class, and not a
 * listener on each response: Node calls `detachSocket` when the last byte of an answer is out, and who answers in time
 * pays nothing for it.
 */
export function createHearingResponse(): typeof ServerResponse {
  const heard = new Set<Heard>()
  let looking: NodeJS.Timeout | undefined
  const look = (): void => {
    const now = performance.now()
    for (const one of heard) if (isOver(one, now)) heard.delete(one)
    if (heard.size > 0) return
    clearInterval(looking)
    looking = undefined
  }
  return class<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
    override detachSocket(socket: Socket): void {
      super.detachSocket(socket)
      const request = this.req
      if (request.complete || socket.destroyed || !hasBody(request)) return
      const untilMs = performance.now() + HEARING_MS
      heard.add({ request, socket, untilMs, mostBytesRead: socket.bytesRead + HEARING_BYTES })
      looking ??= setInterval(look, LOOK_MS).unref()
      request.resume()
    }
  }
}

const isOver = ({ request, socket, untilMs, mostBytesRead }: Heard, now: number): boolean => {
  if (request.complete || socket.destroyed) return true
  if (now < untilMs && socket.bytesRead <= mostBytesRead) return false
  socket.destroy()
  return true
}

/**
 * Lets an error be read that is written before its request is in: Fastify and Node would close as soon as it is out.
 */
export const hearOut = ({ raw: request }: FastifyRequest, reply: FastifyReply): void => {
  if (!hasBody(request) || request.complete || request.destroyed) return
  const { socket } = request
  const { raw: response } = reply
  // Fastify asks for a close where it could not read a body.
  reply.removeHeader('connection')
  const mustClose = !response.shouldKeepAlive
  response.shouldKeepAlive = true
  if (mustClose)
    request.once('end', () => {
      if (response.writableFinished) socket.destroySoon()
      else response.once('finish', () => socket.destroySoon())
    })
  request.resume()
}
