import type { FastifyReply, FastifyRequest } from 'fastify'

/** How long a refused client may go on sending. */
const HEARING_MS = 3_000

/**
 * For an answer that is out before its request is in. Closed at once, the connection would be reset under the client's
 * hands and the answer lost (RFC 9112 section 9.6); so the rest is read and thrown away, but not for ever.
 */
export const hearOut = ({ raw: request }: FastifyRequest, reply: FastifyReply): void => {
  const { headers, socket } = request
  const hasBody = Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined
  if (!hasBody || request.complete || request.destroyed) return
  const { raw: response } = reply
  // Fastify asks for a close where it could not read a body.
  reply.removeHeader('connection')
  const mustClose = !response.shouldKeepAlive
  // Else Node closes as soon as the answer is out.
  response.shouldKeepAlive = true
  const timer = setTimeout(() => socket.destroy(), HEARING_MS).unref()
  request.once('close', () => clearTimeout(timer))
  request.once('end', () => {
    clearTimeout(timer)
    if (!mustClose) return
    if (response.writableFinished) socket.destroySoon()
    else response.once('finish', () => socket.destroySoon())
  })
  request.resume()
}
