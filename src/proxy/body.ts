import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { Deadlines } from '../deadlines.ts'
import { bodyTooSlow, requestTooLarge } from '../errors.ts'

export interface BodyLimits {
  maxBytes: number
  /** How long a JSON body may take to arrive as a whole; how long an upload may pause. */
  timeoutMs: number
}

/** With what it keeps time. */
export interface JsonLimits extends BodyLimits {
  deadlines: Deadlines
}

type Done = (error: Error | null, body?: Buffer[]) => void

/** Gathers a body's chunks; refuses one that says or turns out to be too large, or that does not arrive in time. */
export const collectBody = (
  request: FastifyRequest,
  stream: IncomingMessage,
  limits: JsonLimits,
  done: Done,
): void => {
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > limits.maxBytes) return done(tooLarge(limits.maxBytes))
  // Nearly always all of it came with the head, while the token was looked up: nothing to wait for, no listeners.
  const whole: Buffer | null = stream.readableLength === announced ? stream.read() : null
  if (whole) return done(null, [whole])
  const chunks: Buffer[] = []
  let size = 0
  const finish = (error: Error | null): void => {
    deadline.stop()
    stream.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose)
    if (error) {
      stream.resume()
      done(error)
    } else done(null, chunks)
  }
  const onData = (chunk: Buffer): void => {
    size += chunk.length
    if (size > limits.maxBytes) finish(tooLarge(limits.maxBytes))
    else chunks.push(chunk)
  }
  const onEnd = (): void => finish(null)
  const onClose = (cause?: Error): void =>
    finish(bodyTooSlow('The connection closed before the body was complete', { cause }))
  const deadline = limits.deadlines.open(() =>
    finish(bodyTooSlow(`The body did not arrive within ${limits.timeoutMs / 1000} seconds; send it again`)),
  )
  deadline.start(limits.timeoutMs)
  stream.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose)
}

export const tooLarge = (maxBytes: number) =>
  requestTooLarge(`The body is larger than ${Math.floor(maxBytes / 1024 / 1024)} MiB; send less at once`)
