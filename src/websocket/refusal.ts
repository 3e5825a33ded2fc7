import type { FastifyReply } from 'fastify'
import { copyDownward } from '../dialects/headers.ts'
import { upstreamFailed } from '../errors.ts'
import { ErrorMask, type KeyMask, maskHeaders } from '../upstream/key-mask.ts'
import type { Refusal } from './dial.ts'

/** The refusal without the key that it was asked with. */
export const maskRefusal = (refusal: Refusal, mask: KeyMask | undefined): Refusal => {
  if (!mask) return refusal
  const { body, headers } = refusal
  const text = new ErrorMask(mask, headers['content-encoding'])
  const clean = maskHeaders(text.headers(headers), mask)
  return { ...refusal, headers: clean, body: body && Buffer.concat([text.pass(body), text.rest()]) }
}

/** Answers with the upstream's own words. */
export const passRefusal = async (reply: FastifyReply, { status, headers, body }: Refusal): Promise<void> => {
  // Half of its words would look like all of them.
  if (!body) throw upstreamFailed(`The upstream refused with ${status}, in more words than can be passed on.`)
  const own: Record<string, string> = {}
  copyDownward(headers, own)
  await reply.code(status).headers(own).send(body)
}
