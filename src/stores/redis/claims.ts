import { hash } from 'node:crypto'
import { storeUnavailable } from '../../errors.ts'
import {
  type Claim,
  type IdempotencyStore,
  KEY_MEMORY_MS,
  type KeptAnswer,
  type KeyedRequest,
  type KeyLimits,
  type LargeAnswers,
  SMALL_ANSWER_BYTES,
} from '../contracts/idempotency.ts'
import type { Context } from './context.ts'
import type { Retries } from './link.ts'
import type { MemoryWatch } from './memory-watch.ts'

const MOST_TRIES = 3
/** What answers may take of a Redis whose memory is not limited, and of one whose memory is. */
const MOST_ANSWER_BYTES = 128 * 1024 * 1024
const ANSWERS_SHARE = 4
/** How many tokens have room for all that one may keep. */
const TOKENS_AT_LEAST = 8
/** What is left to a token of its number of keys while memory is short. */
const SHORT_SHARE = 100

export interface ClaimsOptions {
  context: Context
  retries: Retries
  memory: MemoryWatch
  limits: KeyLimits
  /** Undefined: only small answers are kept. */
  large: LargeAnswers | undefined
}

/** A claim by its token and the hash of its key. */
interface ClaimName {
  tokenId: string
  keyHash: string
  claim: string
  requestId: string
}

type End = { state: 'free' | 'answered'; answer: string; largeId: string }

/** Clients' idempotency keys: one claim over all replicas. */
export function openClaims(options: ClaimsOptions): IdempotencyStore {
  const { context, retries } = options
  const { link, owner } = context
  let nextId = 1
  const end = (claimId: string, how: End) => {
    const [tokenId = '', keyHash = '', claim = '', requestId = ''] = claimId.split(' ')
    let { answer } = how
    return retries.do(() => {
      // What waits for Redis waits in memory: only the first try carries the answer.
      const text = answer
      answer = ''
      return endClaim(options, { tokenId, keyHash, claim, requestId }, { ...how, answer: text })
    })
  }
  return {
    claim: async (request) => {
      const { tokenId, requestId, key } = request
      const name = { tokenId, keyHash: hash('sha256', key), claim: `${owner}:${nextId++}`, requestId }
      const isSent = link.isReady()
      try {
        for (let tries = 0; tries < MOST_TRIES; tries++) {
          const found = await claimOnce(options, request, name)
          if (found !== undefined) return found
        }
      } catch (error) {
        // It may stand all the same, for a request that does not run.
        if (isSent) void end(idOf(name), FREE)
        throw error
      }
      throw storeUnavailable('The idempotency key is asked about by too many at once: try again')
    },
    async isKnown({ tokenId, key, at, bodyBytes }) {
      const name = context.keys.claim(tokenId, hash('sha256', key))
      const [claimedAt, bytes] = await link.read((client) => client.hmget(name, 'at', 'bytes'))
      // Replicas of before do not write it: whatever is sent may be that body.
      const most = Number(bytes ?? Number.POSITIVE_INFINITY)
      return typeof claimedAt === 'string' && at - Number(claimedAt) < KEY_MEMORY_MS && bodyBytes <= most
    },
    finish: async (claimId, answer) => end(claimId, await placeAnswer(options, claimId, answer)),
    free: (claimId) => end(claimId, FREE),
  }
}

const FREE: End = { state: 'free', answer: '', largeId: '' }
function idOf({ tokenId, keyHash, claim, requestId }: ClaimName): string {
  return `${tokenId} ${keyHash} ${claim} ${requestId}`
}

/** Undefined: its owner is dead, and what becomes of it is settled now: ask again. */
async function claimOnce(
  { context, memory, limits, large }: ClaimsOptions,
  request: KeyedRequest,
  name: ClaimName,
): Promise<Claim | undefined> {
  const { link, scripts, keys, owner } = context
  const { fingerprint, bodyBytes, at } = request
  const { tokenId, keyHash, claim, requestId } = name
  const key = keys.claim(tokenId, keyHash)
  const hours = keys.claimHours(tokenId)
  const most = mostKeys(memory, limits)
  const touched = [key, keys.replicas, keys.charged(tokenId, requestId), hours]
  const args = [claim, fingerprint, requestId, owner, KEY_MEMORY_MS, at, most, bodyBytes]
  const found = await link.run(scripts.claim, touched, args)
  const [state, first = '', kept = '', largeId = ''] = Array.isArray(found) ? found.map(String) : []
  if (state === 'claimed') return { state, id: idOf(name) }
  if (state === 'mismatch') return { state }
  if (state === 'full') {
    if (most < limits.keysPerToken) throw storeUnavailable(SHORT)
    return { state, retryAfterMs: Number(first) }
  }
  if (state === 'running') return { state, requestId: first }
  if (state === 'answered') {
    const text = kept === '' && largeId !== '' ? await readLarge(large, largeId) : kept
    return { state, requestId: first, answer: text ? unpack(text) : undefined }
  }
  await link.run(scripts.orphan, [key, keys.charged(tokenId, first), hours], [first])
  return undefined
}

const SHORT =
  'The store has little memory left for new idempotency keys: send without one, or try again later'

function mostKeys(memory: MemoryWatch, { keysPerToken }: KeyLimits): number {
  const { state } = memory.now()
  if (state === 'ok') return keysPerToken
  return state === 'full' ? 0 : Math.min(keysPerToken, Math.max(10, Math.floor(keysPerToken / SHORT_SHARE)))
}

async function readLarge(large: LargeAnswers | undefined, id: string): Promise<string | undefined> {
  try {
    return (await large?.read(id))?.toString()
  } catch (cause) {
    throw storeUnavailable('The answer of before cannot be read just now: try again', { cause })
  }
}

/** Where the answer is kept, if it is. */
async function placeAnswer(
  { memory, large }: ClaimsOptions,
  claimId: string,
  answer: KeptAnswer | undefined,
): Promise<End> {
  const over: End = { state: 'answered', answer: '', largeId: '' }
  if (answer === undefined) return over
  if (answer.body.length > SMALL_ANSWER_BYTES) {
    const [tokenId = ''] = claimId.split(' ')
    return { ...over, largeId: (await large?.keep(tokenId, Buffer.from(pack(answer)))) ?? '' }
  }
  return memory.now().state === 'ok' ? { ...over, answer: pack(answer) } : over
}

/** The limits of answers in Redis; in the database that replicas share all of `limits` is used. */
function limitsInRedis(memory: MemoryWatch, { answerBytes, answerBytesPerToken }: KeyLimits) {
  const { limitBytes } = memory.now()
  const share = limitBytes === undefined ? MOST_ANSWER_BYTES : Math.floor(limitBytes / ANSWERS_SHARE)
  const all = Math.min(answerBytes, share)
  return { all, own: Math.min(answerBytesPerToken, Math.floor(all / TOKENS_AT_LEAST)) }
}

async function endClaim(
  options: ClaimsOptions,
  name: ClaimName,
  { state, answer, largeId }: End,
): Promise<void> {
  const { link, scripts, keys } = options.context
  const { tokenId, keyHash, claim, requestId } = name
  const charged = keys.charged(tokenId, requestId)
  const { own, all } = limitsInRedis(options.memory, options.limits)
  const touched = [
    keys.claim(tokenId, keyHash),
    charged,
    keys.claimHours(tokenId),
    keys.answers(tokenId),
    keys.answerSums,
    keys.answerTotal,
  ]
  const prefixes = [keys.answers(''), keys.claim('', '').slice(0, -1)]
  const args = [claim, state, answer, largeId, tokenId, keyHash, own, all, ...prefixes]
  await link.run(scripts.unclaim, touched, args)
}

function pack({ status, headers, body }: KeptAnswer): string {
  return JSON.stringify({ status, headers, body: body.toString('base64') })
}

function unpack(text: string): KeptAnswer {
  const { status, headers, body } = JSON.parse(text)
  return { status, headers, body: Buffer.from(body, 'base64') }
}
