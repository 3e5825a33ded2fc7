import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { Claim, IdempotencyStore, KeyedRequest } from '../../src/stores/contracts/idempotency.ts'
import { KEY_MEMORY_MS } from '../../src/stores/contracts/idempotency.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import { newToken, usageOf } from './token-store.ts'

/** Both contracts over one store. */
export interface OpenedKeys {
  tokens: TokenStore
  idempotency: IdempotencyStore
}

export interface ReopenedKeys extends OpenedKeys {
  /** Closes and opens it again. */
  reopen(): Promise<OpenedKeys>
  /** What is left of it when the process dies at this moment. */
  crash(): Promise<OpenedKeys>
}

export interface Owner {
  teardown(close: () => unknown): unknown
}

const keyed = (special: Partial<KeyedRequest> = {}): KeyedRequest => ({
  tokenId: 'tok_1',
  key: randomUUID(),
  fingerprint: 'a'.repeat(64),
  bodyBytes: 1_000,
  requestId: `req_${randomUUID()}`,
  at: Date.now(),
  ...special,
})

const ANSWER = {
  status: 200,
  headers: { 'content-type': 'application/json' },
  body: Buffer.from('{"a": 1e400}'),
}

const idOf = (claim: Claim): string => (claim.state === 'claimed' ? claim.id : 'none')

/** What every driver must do with idempotency keys. */
export function idempotencyContract(name: string, open: (test: Owner) => Promise<ReopenedKeys>): void {
  t.test(
    `${name}: of a hundred requests at once with one key one runs, and the rest are told so`,
    async (test) => {
      const { idempotency } = await open(test)
      const ask = keyed()
      const claims = await Promise.all(Array.from({ length: 100 }, () => idempotency.claim(ask)))
      test.equal(claims.filter(({ state }) => state === 'claimed').length, 1)
      test.equal(claims.filter(({ state }) => state === 'running').length, 99)
      test.match(await idempotency.claim({ ...ask, fingerprint: 'b'.repeat(64) }), { state: 'mismatch' })
      test.match(
        await idempotency.claim({ ...ask, tokenId: 'tok_2' }),
        { state: 'claimed' },
        'keys are per token',
      )
    },
  )

  t.test(`${name}: an answer is given again byte for byte, also after a restart, for a day`, async (test) => {
    const opened = await open(test)
    const [plain, stream] = [keyed(), keyed()]
    await opened.idempotency.finish(idOf(await opened.idempotency.claim(plain)), ANSWER)
    await opened.idempotency.finish(idOf(await opened.idempotency.claim(stream)), undefined)
    const expected = { state: 'answered', requestId: plain.requestId, answer: ANSWER }
    test.same(await opened.idempotency.claim({ ...plain, requestId: 'another' }), expected)
    const { idempotency } = await opened.reopen()
    test.same(await idempotency.claim({ ...plain, requestId: 'another' }), expected)
    test.same(await idempotency.claim(stream), {
      state: 'answered',
      requestId: stream.requestId,
      answer: undefined,
    })
    test.match(await idempotency.claim({ ...plain, fingerprint: 'b'.repeat(64) }), { state: 'mismatch' })
    const later = plain.at + KEY_MEMORY_MS
    test.match(await idempotency.claim({ ...plain, at: later - 1 }), { state: 'answered' })
    test.match(
      await idempotency.claim({ ...plain, at: later }),
      { state: 'claimed' },
      'a day later it is a new key',
    )
  })

  t.test(
    `${name}: a key is known while its request runs, and for a day when it was answered`,
    async (test) => {
      const opened = await open(test)
      const [ask, freed] = [keyed(), keyed()]
      test.notOk(await opened.idempotency.isKnown(ask))
      const claim = await opened.idempotency.claim(ask)
      test.ok(await opened.idempotency.isKnown(ask), 'it runs')
      test.notOk(await opened.idempotency.isKnown({ ...ask, tokenId: 'tok_2' }), 'keys are per token')
      await opened.idempotency.finish(idOf(claim), ANSWER)
      test.ok(await opened.idempotency.isKnown(ask), 'it was answered')
      await opened.idempotency.free(idOf(await opened.idempotency.claim(freed)))
      test.notOk(await opened.idempotency.isKnown(freed), 'nobody answered')
      const { idempotency } = await opened.reopen()
      test.ok(await idempotency.isKnown(ask))
      test.notOk(await idempotency.isKnown(freed))
      test.ok(await idempotency.isKnown({ ...ask, at: ask.at + KEY_MEMORY_MS - 1 }))
      test.notOk(
        await idempotency.isKnown({ ...ask, at: ask.at + KEY_MEMORY_MS }),
        'a day later it is a new key',
      )
    },
  )

  t.test(
    `${name}: a freed key may be used again, and late ends of its first claim change nothing`,
    async (test) => {
      const opened = await open(test)
      const ask = keyed()
      const first = idOf(await opened.idempotency.claim(ask))
      await opened.idempotency.free(first)
      const second = await opened.idempotency.claim({ ...ask, fingerprint: 'c'.repeat(64) })
      test.match(second, { state: 'claimed' })
      await opened.idempotency.finish(first, ANSWER)
      await opened.idempotency.free(first)
      test.match(await opened.idempotency.claim({ ...ask, fingerprint: 'c'.repeat(64) }), {
        state: 'running',
      })
      await opened.idempotency.finish(idOf(second), undefined)
      const { idempotency } = await opened.reopen()
      test.match(await idempotency.claim({ ...ask, fingerprint: 'c'.repeat(64) }), { state: 'answered' })
    },
  )

  t.test(`${name}: after a crash a charged request keeps its key, any other frees it`, async (test) => {
    const opened = await open(test)
    const { tokens, idempotency } = opened
    const { id: tokenId } = await tokens.mint(newToken(1000))
    const [charged, begun, open_] = [keyed({ tokenId }), keyed({ tokenId }), keyed({ tokenId })]
    for (const ask of [charged, begun, open_]) await idempotency.claim(ask)
    const hold = async ({ requestId }: KeyedRequest) =>
      (await tokens.hold({ accounts: [tokenId], requestId, micros: 100, leastMicros: 100 }))?.id ?? 0
    const [paid, running] = [await hold(charged), await hold(begun)]
    tokens.markAnswered(running, 30, { ...usageOf(tokenId, 30), requestId: begun.requestId })
    await tokens.settle(paid, { ...usageOf(tokenId, 50), requestId: charged.requestId })
    const after = await opened.crash()
    for (const ask of [charged, begun])
      test.same(await after.idempotency.claim({ ...ask, requestId: 'new' }), {
        state: 'answered',
        requestId: ask.requestId,
        answer: undefined,
      })
    test.match(await after.idempotency.claim({ ...open_, requestId: 'new' }), { state: 'claimed' })
    test.match(await after.tokens.credits(tokenId), { chargedMicros: 80 })
  })
}
