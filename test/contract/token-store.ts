import { randomUUID } from 'node:crypto'
import t from 'tap'
import { hashSecret, makeSecret, prefixOf } from '../../src/auth/secret.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import type { NewToken } from '../../src/stores/contracts/tokens.ts'
import type { UsageRow } from '../../src/stores/contracts/usage-columns.ts'

/** A store with nothing in it, and the same one after a restart. */
export interface OpenedStore {
  store: TokenStore
  /** Closes and opens it again. */
  reopen(): Promise<TokenStore>
}

interface Owner {
  teardown(close: () => unknown): unknown
}

/** A token to be made, with a secret of its own. */
export function newToken(creditedMicros: number, special: Partial<NewToken> = {}): NewToken {
  const secret = makeSecret()
  const made = { hash: hashSecret(secret), prefix: prefixOf(secret), creditedMicros }
  return { ...made, type: 'user', user: 'ann', name: '', models: [], ...special }
}

/** What a request of that price used. */
export const usageOf = (tokenId: string, costMicros: number): UsageRow => ({
  requestId: randomUUID(),
  tokenId,
  user: 'ann',
  model: 'demo',
  provider: 'demo',
  modelUsed: 'demo',
  endpoint: 'chat/completions',
  status: 200,
  inputTokens: 3,
  cachedTokens: 0,
  outputTokens: 4,
  reasoningTokens: 0,
  seconds: 0,
  characters: 0,
  images: 0,
  estimated: false,
  costMicros,
  latencyMs: 12.5,
  firstByteMs: 3,
  attempts: 1,
  at: Date.now(),
})

const ask = (tokenId: string, micros: number, leastMicros = micros) => ({
  tokenId,
  requestId: randomUUID(),
  micros,
  leastMicros,
})

/** What every driver must do; `open` gives each test a store of its own and closes it afterwards. */
export function tokenStoreContract(name: string, open: (test: Owner) => Promise<OpenedStore>): void {
  t.test(`${name}: a hundred requests at once on a balance for ten: exactly ten are let in`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(1000))
    const holds = await Promise.all(Array.from({ length: 100 }, () => store.hold(ask(id, 100))))
    const granted = holds.filter((hold) => hold !== undefined)
    test.equal(granted.length, 10)
    test.equal(new Set(granted.map((hold) => hold.id)).size, 10)
    test.same(await store.credits(id), {
      creditedMicros: 1000,
      balanceMicros: 0,
      heldMicros: 1000,
      chargedMicros: 0,
    })
    const settled = await Promise.all(granted.map((hold) => store.settle(hold.id, usageOf(id, 30))))
    test.ok(settled.every(({ chargedMicros }) => chargedMicros === 30))
    test.same(await store.credits(id), {
      creditedMicros: 1000,
      balanceMicros: 700,
      heldMicros: 0,
      chargedMicros: 300,
    })
  })

  t.test(
    `${name}: a hold of nothing stands beside others, and takes what is left when it is settled`,
    async (test) => {
      const { store } = await open(test)
      const { id } = await store.mint(newToken(1000))
      await store.hold(ask(id, 900))
      const nothing = await store.hold(ask(id, 0))
      test.match(nothing, { micros: 0, balanceMicros: 100 })
      test.match(await store.settle(nothing?.id ?? 0, usageOf(id, 300)), {
        chargedMicros: 100,
        balanceMicros: 0,
      })
      const again = await store.hold(ask(id, 0))
      test.match(await store.settle(again?.id ?? 0, usageOf(id, 300)), { chargedMicros: 0, balanceMicros: 0 })
      test.match(await store.credits(id), { balanceMicros: 0, heldMicros: 900, chargedMicros: 100 })
    },
  )

  t.test(`${name}: the same request settled twice, even at once, is one charge`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(1000))
    const hold = await store.hold(ask(id, 100))
    const row = usageOf(id, 40)
    const both = await Promise.all([store.settle(hold?.id ?? 0, row), store.settle(hold?.id ?? 0, row)])
    test.same(both, [
      { chargedMicros: 40, balanceMicros: 960 },
      { chargedMicros: 40, balanceMicros: 960 },
    ])
    test.same(await store.settle(999_999, usageOf(id, 40)), { chargedMicros: 0, balanceMicros: 960 })
    test.equal((await store.credits(id)).chargedMicros, 40)
  })

  t.test(
    `${name}: the last credits are given to a token's only request, never below its least`,
    async (test) => {
      const { store } = await open(test)
      const { id } = await store.mint(newToken(50))
      test.equal(await store.hold(ask(id, 100, 51)), undefined, 'the balance does not cover the least')
      const rest = await store.hold(ask(id, 100, 50))
      test.match(rest, { micros: 50, balanceMicros: 0 })
      test.equal(await store.hold(ask(id, 100, 0)), undefined, 'not beside another hold')
      test.match(await store.hold(ask(id, 0)), { micros: 0 }, 'what costs nothing is always let in')
      test.same(await store.settle(rest?.id ?? 0, usageOf(id, 80)), { chargedMicros: 50, balanceMicros: 0 })
      const broke = await store.mint(newToken(0))
      test.equal(await store.hold(ask(broke.id, 100, 0)), undefined, 'an empty purse pays for nothing')
      test.equal(await store.hold(ask('nobody', 1)), undefined)
    },
  )

  t.test(`${name}: a charge may pass its hold, but never what is left of the balance`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(100))
    const [first, second] = [await store.hold(ask(id, 40)), await store.hold(ask(id, 40))]
    test.same(await store.settle(first?.id ?? 0, usageOf(id, 1000)), { chargedMicros: 60, balanceMicros: 0 })
    test.same(await store.settle(second?.id ?? 0, usageOf(id, 1000)), { chargedMicros: 40, balanceMicros: 0 })
  })

  t.test(`${name}: amounts that are no whole micro-credits are refused and change nothing`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(100))
    const hold = await store.hold(ask(id, 10))
    for (const micros of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      await test.rejects(store.hold(ask(id, micros, 0)), RangeError)
      await test.rejects(store.settle(hold?.id ?? 0, usageOf(id, micros)), RangeError)
      await test.rejects(store.mint(newToken(micros)), RangeError)
    }
    await test.rejects(store.mint(newToken(1, { hash: 'secret' })), RangeError)
    test.match(await store.credits(id), { balanceMicros: 90, heldMicros: 10, chargedMicros: 0 })
    test.equal((await store.list()).length, 1)
  })

  t.test(`${name}: odd counts in a usage row do not keep it from being charged`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(100))
    const hold = await store.hold(ask(id, 10))
    const odd = {
      inputTokens: Number.NaN,
      outputTokens: -3,
      latencyMs: 0.25,
      seconds: Number.POSITIVE_INFINITY,
    }
    test.match(await store.settle(hold?.id ?? 0, { ...usageOf(id, 10), ...odd }), { chargedMicros: 10 })
  })

  t.test(`${name}: tokens, balances and charges are there after a restart`, async (test) => {
    const opened = await open(test)
    const models = ['gpt-4o', 'gpt-*']
    const wish = newToken(5000, {
      name: 'laptop',
      models,
      expiresAt: 4_102_444_800_000,
      requestsPerMinute: 7,
    })
    const minted = await opened.store.mint(wish)
    const hold = await opened.store.hold(ask(minted.id, 1000))
    await opened.store.settle(hold?.id ?? 0, usageOf(minted.id, 700))
    const store = await opened.reopen()
    test.same(await store.find(wish.hash), minted)
    test.match(minted, { name: 'laptop', models, expiresAt: 4_102_444_800_000, requestsPerMinute: 7 })
    test.same(await store.credits(minted.id), {
      creditedMicros: 5000,
      balanceMicros: 4300,
      heldMicros: 0,
      chargedMicros: 700,
    })
    test.equal(await store.find(hashSecret('gw-unknown')), undefined)
    test.ok(store.isReady())
  })

  t.test(`${name}: a user's tokens have different names, also when asked for at once`, async (test) => {
    const { store } = await open(test)
    const twins = await Promise.allSettled([
      store.mint(newToken(1, { name: 'ci' })),
      store.mint(newToken(1, { name: 'ci' })),
      store.mint(newToken(1, { name: 'ci', user: 'bob' })),
      store.mint(newToken(1)),
      store.mint(newToken(1)),
    ])
    test.same(
      twins.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled'],
    )
    await test.rejects(store.mint(newToken(1, { name: 'ci' })), { code: 'name_taken' })
    const same = newToken(1)
    await store.mint(same)
    await test.rejects(store.mint(same), { code: 'name_taken' }, 'one secret is one token')
  })

  t.test(`${name}: a revoked token stays revoked after a restart, since the first time`, async (test) => {
    const opened = await open(test)
    const wish = newToken(10)
    const { id } = await opened.store.mint(wish)
    test.match(await opened.store.revoke(id, 111), { id, revokedAt: 111 })
    test.match(await opened.store.revoke(id, 222), { id, revokedAt: 111 })
    test.equal(await opened.store.revoke('nobody', 1), undefined)
    test.match(await (await opened.reopen()).find(wish.hash), { id, revokedAt: 111 })
  })

  t.test(`${name}: the master token is one record, whatever its secret is`, async (test) => {
    const opened = await open(test)
    test.equal(await opened.store.master(), undefined)
    const [first, second] = [newToken(9000, { type: 'admin' }), newToken(1, { type: 'admin' })]
    const { id } = await opened.store.putMaster(first)
    test.match(await opened.store.putMaster(first), { id })
    test.match(await opened.store.putMaster(second), { id, hash: second.hash })
    const store = await opened.reopen()
    test.match(await store.master(), { id, hash: second.hash, prefix: second.prefix })
    test.equal(await store.find(first.hash), undefined, 'the old secret is worth nothing')
    test.equal((await store.credits(id)).creditedMicros, 9000)
    test.equal((await store.list()).length, 1)
    await store.revoke(id, 5)
    test.match(await store.putMaster(second), { revokedAt: 5 }, 'the revoked secret stays revoked')
    const shorter = { ...second, prefix: second.prefix.slice(0, 2) }
    test.match(await store.putMaster(shorter), { id, revokedAt: 5, hash: second.hash })
    test.equal((await store.find(second.hash))?.prefix, shorter.prefix, 'less of it is shown than before')
    const third = newToken(1, { type: 'admin' })
    test.equal((await store.putMaster(third)).revokedAt, undefined)
    const at = Date.now()
    const turned = { ...newToken(1), tokenId: id, at, previousUntil: at + 60_000 }
    await store.rotate(turned)
    await store.disable(id, at)
    test.match(await store.find(third.hash), { id }, 'good for a while beside the next one')
    const last = await store.putMaster(newToken(1, { type: 'admin' }))
    test.equal(last.disabledAt, undefined)
    test.equal(await store.find(third.hash), undefined, 'none of the secrets before is good any more')
    test.equal(await store.find(turned.hash), undefined)
  })
}
