import { randomBytes, randomUUID } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type {
  IdempotencyStore,
  KeptAnswer,
  KeyedRequest,
  KeyLimits,
} from '../../src/stores/contracts/idempotency.ts'
import type { Owner, ReopenedKeys } from './idempotency.ts'

export interface KeptAnswersOptions {
  /** Of each answer's body. */
  bodyBytes: number
  open(test: Owner, limits: Partial<KeyLimits>): Promise<ReopenedKeys>
}

/** So many answers (as they come from a provider) may one token keep, and all together. */
const [OWN, ALL] = [10, 80]
/** What an answer counts for beyond its body, at most: its headers, and base64 where that is needed. */
const overhead = (bodyBytes: number) => Math.ceil((bodyBytes / 3) * 4) + 200

export const keyedOf = (tokenId: string, special: Partial<KeyedRequest> = {}): KeyedRequest => ({
  tokenId,
  key: randomUUID(),
  fingerprint: 'f'.repeat(64),
  bodyBytes: 1_000,
  requestId: `req_${randomUUID()}`,
  at: Date.now(),
  ...special,
})

export const answerOf = (bodyBytes: number): KeptAnswer => ({
  status: 200,
  headers: { 'content-type': 'application/json' },
  body: randomBytes(bodyBytes),
})

/** Claims a key and ends it with an answer. */
export async function answerUnder(
  idempotency: IdempotencyStore,
  ask: KeyedRequest,
  answer: KeptAnswer,
): Promise<void> {
  const claim = await idempotency.claim(ask)
  if (claim.state !== 'claimed') throw new Error(`the key is ${claim.state}`)
  await idempotency.finish(claim.id, answer)
  // What was written in one turn is judged at its end.
  await nextTurn()
}

export const givenAgain = async (
  idempotency: IdempotencyStore,
  ask: KeyedRequest,
): Promise<KeptAnswer | undefined> => {
  const claim = await idempotency.claim({ ...ask, requestId: 'again' })
  if (claim.state !== 'answered') throw new Error(`the key is ${claim.state}`)
  return claim.answer
}

/** What every driver must do with the answers it keeps. */
export function keptAnswersContract(name: string, { bodyBytes, open }: KeptAnswersOptions): void {
  const unit = overhead(bodyBytes)
  const limits = { answerBytesPerToken: OWN * unit, answerBytes: ALL * unit }
  const fill = async (idempotency: IdempotencyStore, tokenId: string, count: number) => {
    const asks: { ask: KeyedRequest; answer: KeptAnswer }[] = []
    for (let index = 0; index < count; index++) {
      const one = { ask: keyedOf(tokenId), answer: answerOf(bodyBytes) }
      await answerUnder(idempotency, one.ask, one.answer)
      asks.push(one)
    }
    return asks
  }
  /** Which of them are given again, each byte for byte; the others are over, and their keys stay used. */
  const keptOf = async (idempotency: IdempotencyStore, asks: Awaited<ReturnType<typeof fill>>) => {
    const kept: boolean[] = []
    for (const { ask, answer } of asks) {
      const again = await givenAgain(idempotency, ask)
      if (again && !again.body.equals(answer.body)) throw new Error('another answer was given')
      kept.push(again !== undefined)
    }
    return kept
  }

  t.test(`${name}: a token's oldest answers make room for its own, and nobody else's`, async (test) => {
    const opened = await open(test, limits)
    const others = await fill(opened.idempotency, 'tok_other', 1)
    const own = await fill(opened.idempotency, 'tok_many', 3 * OWN)
    const check = async (idempotency: IdempotencyStore) => {
      const kept = await keptOf(idempotency, own)
      const count = kept.filter(Boolean).length
      test.ok(count >= OWN && count * bodyBytes <= OWN * unit, `${count} are kept`)
      test.same(kept, [...Array(own.length - count).fill(false), ...Array(count).fill(true)], 'the newest')
      test.same(await keptOf(idempotency, others), [true])
    }
    await check(opened.idempotency)
    await check((await opened.reopen()).idempotency)
  })

  t.test(`${name}: when all is full, who has the most makes room for who has less`, async (test) => {
    const { idempotency } = await open(test, limits)
    const greedy = []
    for (let index = 0; index < 12; index++) greedy.push(await fill(idempotency, `tok_greedy_${index}`, OWN))
    const late = await fill(idempotency, 'tok_late', 3)
    test.same(await keptOf(idempotency, late), [true, true, true])
    const counts = []
    for (const asks of greedy) counts.push((await keptOf(idempotency, asks)).filter(Boolean).length)
    const all = counts.reduce((sum, count) => sum + count, 3)
    test.ok(all * bodyBytes <= ALL * unit, `${all} are kept in all`)
    test.ok(Math.min(...counts) >= 3, 'each has its share')
  })

  t.test(
    `${name}: a key says nothing for a body that is longer than its own, before and after its answer`,
    async (test) => {
      const opened = await open(test, limits)
      const [kept, dropped] = [keyedOf('tok_1'), keyedOf('tok_1')]
      const asLong = async (idempotency: IdempotencyStore, ask: KeyedRequest) => {
        const known = [0, 999, 1_000, 1_001, 10_485_760].map((bytes) =>
          idempotency.isKnown({ ...ask, bodyBytes: bytes }),
        )
        test.same(await Promise.all(known), [true, true, true, false, false])
      }
      const claim = await opened.idempotency.claim(kept)
      await asLong(opened.idempotency, kept)
      await opened.idempotency.finish(claim.state === 'claimed' ? claim.id : '', answerOf(bodyBytes))
      await answerUnder(opened.idempotency, dropped, answerOf(OWN * unit + 1))
      const check = async (idempotency: IdempotencyStore) => {
        await asLong(idempotency, kept)
        await asLong(idempotency, dropped)
        test.equal((await givenAgain(idempotency, kept))?.body.length, bodyBytes)
        test.equal(await givenAgain(idempotency, dropped), undefined)
        test.match(await idempotency.claim({ ...kept, fingerprint: 'e'.repeat(64) }), { state: 'mismatch' })
      }
      await check(opened.idempotency)
      await check((await opened.reopen()).idempotency)
    },
  )

  t.test(`${name}: an answer that is larger than all that may be kept is not kept`, async (test) => {
    const { idempotency } = await open(test, { ...limits, answerBytesPerToken: bodyBytes - 1 })
    const asks = await fill(idempotency, 'tok_1', 2)
    test.same(await keptOf(idempotency, asks), [false, false])
  })

  t.test(
    `${name}: a token has a bounded number of keys, and none of them is forgotten for a new one`,
    async (test) => {
      const opened = await open(test, { ...limits, keysPerToken: 5 })
      const asks = await fill(opened.idempotency, 'tok_1', 4)
      const free = await opened.idempotency.claim(keyedOf('tok_1'))
      test.match(await opened.idempotency.claim(keyedOf('tok_1')), { state: 'full' })
      await opened.idempotency.free(free.state === 'claimed' ? free.id : '')
      await opened.idempotency.claim(keyedOf('tok_1'))
      const refused = await opened.idempotency.claim(keyedOf('tok_1'))
      test.match(refused, { state: 'full' })
      const waitMs = refused.state === 'full' ? refused.retryAfterMs : 0
      test.ok(waitMs > 22 * 3_600_000 && waitMs <= 25 * 3_600_000, `${waitMs} ms until there is room`)
      test.same(await keptOf(opened.idempotency, asks), [true, true, true, true])
      test.match(
        await opened.idempotency.claim(keyedOf('tok_2')),
        { state: 'claimed' },
        'another token has its own',
      )
      const tomorrow = Date.now() + 26 * 3_600_000
      test.match(await opened.idempotency.claim(keyedOf('tok_2', { at: tomorrow })), { state: 'claimed' })
    },
  )
}
