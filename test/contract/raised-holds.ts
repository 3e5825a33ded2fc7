import t from 'tap'
import { ask, newToken, type OpenedStore, type Owner, usageOf } from './token-store.ts'

/** What every driver must do when a standing hold is raised; `open` is the same as for `accountsContract`. */
export function raisedHoldsContract(name: string, open: (test: Owner) => Promise<OpenedStore>): void {
  t.test(`${name}: a raised hold is one hold, and is charged as one`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(1000))
    const hold = await store.hold(ask(id, 100))
    const holdId = hold?.id ?? 0
    test.same(await store.raise(holdId, 300), { id: holdId, accounts: [id], micros: 300, balanceMicros: 700 })
    test.same(
      await Promise.all([1, 2, 3].map(() => store.raise(holdId, 450))),
      [1, 2, 3].map(() => ({ id: holdId, accounts: [id], micros: 450, balanceMicros: 550 })),
      'asked for three times it is one raise',
    )
    test.match(await store.raise(holdId, 200), { micros: 450, balanceMicros: 550 }, 'it is never lowered')
    test.same(await store.credits(id), {
      creditedMicros: 1000,
      balanceMicros: 550,
      heldMicros: 450,
      chargedMicros: 0,
    })
    test.same(await store.settle(holdId, usageOf(id, 420)), { chargedMicros: 420, balanceMicros: 580 })
    test.match(await store.credits(id), { balanceMicros: 580, heldMicros: 0, chargedMicros: 420 })
  })

  t.test(
    `${name}: fifty holds raised at once never cross the balance, and lose nothing of it`,
    async (test) => {
      const { store } = await open(test)
      const { id } = await store.mint(newToken(1000))
      const holds = await Promise.all(Array.from({ length: 50 }, () => store.hold(ask(id, 10))))
      const ids = holds.flatMap((hold) => (hold ? [hold.id] : []))
      test.equal(ids.length, 50)
      const raises = ids.flatMap((holdId) => [store.raise(holdId, 40), store.raise(holdId, 70)])
      const raised = (await Promise.all(raises)).filter((hold) => hold !== undefined)
      const largest = new Map<number, number>(ids.map((holdId) => [holdId, 10]))
      for (const hold of raised) largest.set(hold.id, Math.max(largest.get(hold.id) ?? 0, hold.micros))
      const heldMicros = [...largest.values()].reduce((sum, micros) => sum + micros, 0)
      test.same(await store.credits(id), {
        creditedMicros: 1000,
        balanceMicros: 1000 - heldMicros,
        heldMicros,
        chargedMicros: 0,
      })
      test.ok(1000 - heldMicros < 30, 'all that was free for a step was given')
      const costs = ids.map((holdId) => largest.get(holdId) ?? 0)
      const settled = await Promise.all(
        ids.map((holdId, n) => store.settle(holdId, usageOf(id, costs[n] ?? 0))),
      )
      test.same(
        settled.map(({ chargedMicros }) => chargedMicros),
        costs,
        'each is charged what it was raised to',
      )
      test.same(await store.credits(id), {
        creditedMicros: 1000,
        balanceMicros: 1000 - heldMicros,
        heldMicros: 0,
        chargedMicros: heldMicros,
      })
    },
  )

  t.test(`${name}: what is left is taken where it is enough, whatever else is held`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(100))
    const [first, second] = [await store.hold(ask(id, 40)), await store.hold(ask(id, 40))]
    test.equal(await store.raise(first?.id ?? 0, 80), undefined)
    test.equal(await store.raise(first?.id ?? 0, 80, 61), undefined)
    test.match(await store.credits(id), { balanceMicros: 20, heldMicros: 80 }, 'nothing was changed')
    test.match(await store.raise(first?.id ?? 0, 80, 41), { micros: 60, balanceMicros: 0 })
    test.match(await store.raise(first?.id ?? 0, 80, 41), { micros: 60 }, 'it has what is enough')
    test.equal(await store.raise(second?.id ?? 0, 80, 41), undefined, 'the last credit is gone')
    test.match(await store.credits(id), { balanceMicros: 0, heldMicros: 100 })
    test.same(await store.settle(second?.id ?? 0, usageOf(id, 10)), { chargedMicros: 10, balanceMicros: 30 })
    test.match(
      await store.raise(first?.id ?? 0, 90),
      { micros: 90, balanceMicros: 0 },
      'what came back is free',
    )
    test.same(await store.settle(first?.id ?? 0, usageOf(id, 900)), { chargedMicros: 90, balanceMicros: 0 })
  })

  t.test(`${name}: a hold that is over, or that nobody made, is not raised`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(1000))
    const hold = await store.hold(ask(id, 100))
    await store.settle(hold?.id ?? 0, usageOf(id, 30))
    for (const holdId of [hold?.id ?? 0, 999_999, 0])
      await test.rejects(store.raise(holdId, 200), { code: 'store_unavailable' })
    const racing = await store.hold(ask(id, 100))
    const [raised, settled] = await Promise.allSettled([
      store.raise(racing?.id ?? 0, 500),
      store.settle(racing?.id ?? 0, usageOf(id, 70)),
    ])
    test.match([raised.status, settled.status], ['fulfilled', 'fulfilled'])
    test.same(await store.credits(id), {
      creditedMicros: 1000,
      balanceMicros: 900,
      heldMicros: 0,
      chargedMicros: 100,
    })
  })

  t.test(`${name}: no hold is raised in a store that is closed`, async (test) => {
    const { store, reopen } = await open(test)
    const { id } = await store.mint(newToken(1000))
    const hold = await store.hold(ask(id, 100))
    const after = await reopen()
    await test.rejects(store.raise(hold?.id ?? 0, 200), { code: 'store_unavailable', statusCode: 503 })
    test.match(await after.credits(id), { balanceMicros: 1000, heldMicros: 0, chargedMicros: 0 })
  })

  t.test(`${name}: amounts that are no whole micro-credits raise nothing`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(100))
    const hold = await store.hold(ask(id, 10))
    for (const micros of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      await test.rejects(store.raise(hold?.id ?? 0, micros), RangeError)
      await test.rejects(store.raise(hold?.id ?? 0, 50, micros), RangeError)
    }
    test.match(await store.credits(id), { balanceMicros: 90, heldMicros: 10 })
  })

  t.test(`${name}: a crash gives a raised hold back, but for its answer’s least`, async (test) => {
    const opened = await open(test)
    const { id } = await opened.store.mint(newToken(1000))
    const [plain, marked, later] = [
      await opened.store.hold(ask(id, 100)),
      await opened.store.hold(ask(id, 100)),
      await opened.store.hold(ask(id, 100)),
    ]
    opened.store.markAnswered(marked?.id ?? 0, 40, usageOf(id, 40))
    await Promise.all([plain, marked, later].map((hold) => opened.store.raise(hold?.id ?? 0, 300)))
    opened.store.markAnswered(later?.id ?? 0, 7, usageOf(id, 7))
    test.match(await opened.store.credits(id), { balanceMicros: 100, heldMicros: 900 })
    test.same(await (await opened.reopen()).credits(id), {
      creditedMicros: 1000,
      balanceMicros: 953,
      heldMicros: 0,
      chargedMicros: 47,
    })
  })
}
