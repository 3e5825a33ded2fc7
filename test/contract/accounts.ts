import t from 'tap'
import { ask, change, newToken, type OpenedStore, type Owner, usageOf } from './token-store.ts'

/** What every driver must do with balances, holds and charges. */
export function accountsContract(name: string, open: (test: Owner) => Promise<OpenedStore>): void {
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

  t.test(`${name}: a hundred top-ups and debits at once are all there, and after a restart`, async (test) => {
    const opened = await open(test)
    const { id } = await opened.store.mint(newToken(1000))
    const both = Array.from({ length: 100 }, (_, n) =>
      opened.store.adjust(change(id, n % 2 === 0 ? 50 : -10)),
    )
    test.ok((await Promise.all(both)).every((token) => token?.id === id))
    const sums = { creditedMicros: 3000, balanceMicros: 3000, heldMicros: 0, chargedMicros: 0 }
    test.same(await opened.store.credits(id), sums)
    test.same(await (await opened.reopen()).credits(id), sums)
  })

  t.test(`${name}: an operation id is one change, at once, later and after a restart`, async (test) => {
    const opened = await open(test)
    const { id } = await opened.store.mint(newToken(100))
    const [up, down] = [change(id, 30), change(id, -100)]
    await Promise.all(Array.from({ length: 20 }, () => opened.store.adjust(up)))
    await Promise.all(Array.from({ length: 20 }, () => opened.store.adjust(down)))
    test.match(await opened.store.adjust(down), { id }, 'a repeated debit is no second one')
    test.match(await opened.store.credits(id), { creditedMicros: 30, balanceMicros: 30 })
    await test.rejects(opened.store.adjust({ ...up, micros: 31 }), { code: 'idempotency_mismatch' })
    const store = await opened.reopen()
    test.match(await store.adjust(up), { id })
    test.match(await store.credits(id), { creditedMicros: 30, balanceMicros: 30 })
    test.equal(await store.adjust(change('nobody', 5)), undefined)
  })

  t.test(`${name}: nothing is taken that is not free, however many take at once`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(1000))
    const hold = await store.hold(ask(id, 400))
    const taken = await Promise.allSettled(Array.from({ length: 20 }, () => store.adjust(change(id, -100))))
    test.equal(taken.filter(({ status }) => status === 'fulfilled').length, 6)
    test.same(await store.credits(id), {
      creditedMicros: 400,
      balanceMicros: 0,
      heldMicros: 400,
      chargedMicros: 0,
    })
    await test.rejects(store.adjust(change(id, -1)), { code: 'balance_too_small', statusCode: 409 })
    test.same(await store.settle(hold?.id ?? 0, usageOf(id, 150)), { chargedMicros: 150, balanceMicros: 250 })
    await store.adjust(change(id, -250))
    test.match(await store.credits(id), { creditedMicros: 150, balanceMicros: 0, chargedMicros: 150 })
  })

  t.test(`${name}: amounts that cannot be counted change nothing`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(100))
    for (const micros of [0, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, Number.MAX_SAFE_INTEGER])
      await test.rejects(store.adjust(change(id, micros)), RangeError, String(micros))
    for (const operationId of ['', 'a\nb', 'x'.repeat(129)])
      await test.rejects(store.adjust({ ...change(id, 5), operationId }), RangeError)
    test.match(await store.credits(id), { creditedMicros: 100, balanceMicros: 100 })
  })
}
