import type { FastifyReply } from 'fastify'
import { upstreamFailed } from '../errors.ts'
import { copyDownward } from '../proxy/headers.ts'
import type { Refusal } from './dial.ts'

/** Answers with the upstream's own words. */
export const passRefusal = async (reply: FastifyReply, { status, headers, body }: Refusal): Promise<void> => {
  // Half of its words would look like all of them.
  if (!body) throw upstreamFailed(`The upstream refused with ${status}, in more words than can be passed on.`)
  const own: Record<string, string> = {}
  copyDownward(headers, own)
  await reply.code(status).headers(own).send(body)
}
