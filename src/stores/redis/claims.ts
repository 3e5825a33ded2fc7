import { hash } from 'node:crypto'
import { storeUnavailable } from '../../errors.ts'
import {
  type Claim,
  type IdempotencyStore,
  KEY_MEMORY_MS,
  type KeptAnswer,
  type KeyedRequest,
} from '../idempotency.ts'
import type { Later } from './later.ts'
import type { Tools } from './tools.ts'

const MOST_TRIES = 3

/** Clients' idempotency keys: one claim over all replicas. */
export function openClaims(tools: Tools, later: Later): IdempotencyStore {
  const { link, scripts, owner } = tools
  let nextId = 1
  const end = (claimId: string, state: 'answered' | 'free', answer: string) => {
    const [key = '', claim = ''] = claimId.split(' ')
    return later.do(() => link.run(scripts.unclaim, [key], [claim, state, answer]))
  }
  return {
    claim: async (request) => {
      const claim = `${owner}:${nextId++}`
      const isSent = link.isReady()
      try {
        for (let tries = 0; tries < MOST_TRIES; tries++) {
          const found = await claimOnce(tools, request, claim)
          if (found !== undefined) return found
        }
      } catch (error) {
        // It may stand all the same, for a request that does not run.
        if (isSent) void end(`${claimKeyOf(tools, request)} ${claim}`, 'free', '')
        throw error
      }
      throw storeUnavailable('The idempotency key is asked about by too many at once: try again')
    },
    finish: (claimId, answer) => end(claimId, 'answered', answer === undefined ? '' : pack(answer)),
    free: (claimId) => end(claimId, 'free', ''),
  }
}

/** Undefined: its owner is dead, and what becomes of it is settled now: ask again. */
async function claimOnce(tools: Tools, request: KeyedRequest, claim: string): Promise<Claim | undefined> {
  const { link, scripts, keys, owner } = tools
  const { tokenId, fingerprint, requestId, at } = request
  const key = claimKeyOf(tools, request)
  const touched = [key, keys.replicas, keys.charged(tokenId, requestId)]
  const args = [claim, fingerprint, requestId, owner, KEY_MEMORY_MS, at]
  const answer = await link.run(scripts.claim, touched, args)
  const [state, first = '', kept = ''] = Array.isArray(answer) ? answer.map(String) : []
  if (state === 'claimed') return { state, id: `${key} ${claim}` }
  if (state === 'mismatch') return { state }
  if (state === 'running') return { state, requestId: first }
  if (state === 'answered') return { state, requestId: first, answer: kept === '' ? undefined : unpack(kept) }
  await link.run(scripts.orphan, [key, keys.charged(tokenId, first)], [first])
  return undefined
}

const claimKeyOf = ({ keys }: Tools, { tokenId, key }: KeyedRequest): string =>
  keys.claim(tokenId, hash('sha256', key))

const pack = ({ status, headers, body }: KeptAnswer): string =>
  JSON.stringify({ status, headers, body: body.toString('base64') })

const unpack = (text: string): KeptAnswer => {
  const { status, headers, body } = JSON.parse(text)
  return { status, headers, body: Buffer.from(body, 'base64') }
}
