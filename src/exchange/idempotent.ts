import { createHash, type Hash } from 'node:crypto'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Endpoint } from '../dialects/endpoints.ts'
import { upstreamQuery } from '../dialects/headers.ts'
import {
  idempotencyFull,
  idempotencyMismatch,
  idempotencyOver,
  idempotencyRunning,
  invalidRequest,
} from '../errors.ts'
import type { Ask } from '../request/ask.ts'
import { noMemory } from '../request/body.ts'
import { isChunks } from '../request/json-ask.ts'
import type { Lease } from '../request/shared-bytes.ts'
import type { Settlement } from '../stores/contracts/accounts.ts'
import type { IdempotencyStore, KeptAnswer } from '../stores/contracts/idempotency.ts'
import type { UsageRow } from '../stores/contracts/usage-columns.ts'
import type { Downstream } from './downstream.ts'
import { type AnswerKeeper, createAnswerKeeper } from './kept-answer.ts'
import { pathModelOf } from './read-ask.ts'

const HASHED_AT_ONCE_BYTES = 1024 * 1024
const PIECE_BYTES = 64 * 1024
const KEY = /^[\x20-\x7e]{1,255}$/

type Settle = (row: UsageRow) => Promise<Settlement>

/** A request under a key of its own, until its end is known. */
export interface KeyedExchange {
  /** The answer of before; nothing else is to be done then. */
  again: KeptAnswer | undefined
  /** Keeps what is written, and ends the key before the last byte leaves. */
  watch(downstream: Downstream): Downstream
  /** Ends the key with the bill, unless an answer is on its way. */
  settling(settle: Settle): Settle
  /** The request was refused before it began. */
  free(): Promise<void>
}

interface Keyed {
  request: FastifyRequest
  endpoint: Endpoint
  ask: Ask
  at: number
}

/** Takes the request's `Idempotency-Key`. Throws `invalid_request`, `idempotency_conflict`, `-mismatch`. */
export async function claimKey(store: IdempotencyStore, keyed: Keyed): Promise<KeyedExchange> {
  const { request, at } = keyed
  const key = request.headers['idempotency-key']
  if (typeof key !== 'string' || !KEY.test(key))
    throw invalidRequest('"Idempotency-Key" must be 1 to 255 printable characters')
  const content = { fingerprint: await fingerprintOf(keyed), bodyBytes: bodyBytesOf(keyed) }
  const claim = await store.claim({ tokenId: request.token.id, key, ...content, requestId: request.id, at })
  if (claim.state === 'claimed') return openExchange(store, claim.id)
  if (claim.state === 'answered' && claim.answer) return { ...NOTHING_TO_DO, again: claim.answer }
  if (claim.state === 'mismatch')
    throw idempotencyMismatch(
      'This "Idempotency-Key" was used for another request: choose a new one, or send the same path, query and body',
    )
  if (claim.state === 'running')
    throw idempotencyRunning(
      `The request ${claim.requestId} with this "Idempotency-Key" still runs: wait for its end`,
    )
  if (claim.state === 'full')
    throw idempotencyFull(
      'Your token has too many "Idempotency-Key"s of the last 24 hours: send without one, or wait until the oldest is a day old',
      { retryAfterMs: claim.retryAfterMs },
    )
  throw idempotencyOver(
    `The request ${claim.requestId} with this "Idempotency-Key" is over and charged; its answer cannot be given again`,
  )
}

interface Again {
  answer: KeptAnswer
  /** The request's part of the memory of all bodies. */
  lease: Lease
  /** How long a client may leave it unread. */
  idleTimeoutMs: number
}

/**
 * The answer of before, byte for byte. It costs nothing, so nothing else bounds how often it is asked for: its bytes
 * count while they are here, and who does not read them is cut.
 */
export function sendAgain(reply: FastifyReply, { answer, lease, idleTimeoutMs }: Again): FastifyReply {
  const { status, headers, body } = answer
  if (!lease.takeIfRoom(body.length)) throw noMemory()
  const { raw } = reply
  let isTaken = false
  const watch = setInterval(() => {
    // Behind another answer on its connection it has no socket yet: that one's reader is watched.
    if (!isTaken && raw.socket) raw.destroy()
    isTaken = false
  }, idleTimeoutMs).unref()
  raw.once('close', () => {
    clearInterval(watch)
    lease.release()
  })
  const taken = (): void => {
    isTaken = true
  }
  return reply
    .code(status)
    .headers({ ...headers, 'content-length': String(body.length), 'idempotent-replayed': 'true' })
    .send(Readable.from(piecesOf(body, taken), { objectMode: false }))
}

/** The next one is taken when the client has made room for it. */
function* piecesOf(body: Buffer, taken: () => void): Generator<Buffer> {
  for (let at = 0; at < body.length; at += PIECE_BYTES) {
    taken()
    yield body.subarray(at, at + PIECE_BYTES)
  }
}

/** The path with its query and the model that it may name, and the body: of JSON its bytes, of a form its content. */
async function fingerprintOf({ request, endpoint, ask }: Keyed): Promise<string> {
  const { body, url } = request
  const pathModel = pathModelOf(request)
  const hash = createHash('sha256')
    .update(endpoint.path + upstreamQuery(url) + (pathModel === undefined ? '' : `\0${pathModel}`))
    .update('\0')
  if (isChunks(body)) await addAll(hash, body)
  else hash.update(ask.content?.hash ?? '')
  return hash.digest('hex')
}

function bodyBytesOf({ request: { body }, ask }: Keyed): number {
  return isChunks(body) ? body.reduce((sum, { length }) => sum + length, 0) : (ask.content?.bytes ?? 0)
}

/** Others have their turn between two pieces: not every processor hashes ten megabytes in a moment. */
async function addAll(hash: Hash, chunks: readonly Buffer[]): Promise<void> {
  let left = HASHED_AT_ONCE_BYTES
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += HASHED_AT_ONCE_BYTES) {
      const piece = chunk.subarray(at, at + HASHED_AT_ONCE_BYTES)
      hash.update(piece)
      left -= piece.length
      if (left > 0) continue
      left = HASHED_AT_ONCE_BYTES
      await setImmediate()
    }
  }
}

const NOTHING_TO_DO: Omit<KeyedExchange, 'again'> = {
  watch: (downstream) => downstream,
  settling: (settle) => settle,
  free: async () => {},
}

function openExchange(store: IdempotencyStore, claimId: string): KeyedExchange {
  let keeper: AnswerKeeper | undefined
  let downstream: Downstream | undefined
  // A key that cannot be ended now is ended by the store itself when it opens again.
  const finish = (answer: KeptAnswer | undefined) => store.finish(claimId, answer).catch(() => {})
  const free = () => store.free(claimId).catch(() => {})
  return {
    again: undefined,
    free,
    watch(inner) {
      keeper = createAnswerKeeper(inner, finish)
      downstream = inner
      return keeper.downstream
    },
    settling: (settle) => async (row) => {
      const settlement = await settle(row)
      if (row.provider === '') await free()
      else if (keeper?.hasFailed() || downstream?.response.destroyed) await finish(undefined)
      // Whatever cuts the answer short from here on: it was charged.
      else downstream?.response.once('close', () => void finish(undefined))
      return settlement
    },
  }
}
