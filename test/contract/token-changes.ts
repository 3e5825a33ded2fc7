import t from 'tap'
import { hashSecret, makeSecret, prefixOf } from '../../src/auth/secret.ts'
import type { Place } from '../../src/stores/contracts/places.ts'
import { newToken, type OpenedStore, usageOf } from './token-store.ts'

interface Owner {
  teardown(close: () => unknown): unknown
}

const NOW = 1_700_000_000_000

const change = (tokenId: string, micros: number, operationId = makeSecret()) => ({
  operationId,
  tokenId,
  micros,
  at: NOW,
})

const rotation = (tokenId: string, previousUntil: number, secret = makeSecret()) => ({
  tokenId,
  hash: hashSecret(secret),
  prefix: prefixOf(secret),
  at: NOW,
  previousUntil,
})

const ask = (tokenId: string, micros: number) => ({
  tokenId,
  requestId: makeSecret(),
  micros,
  leastMicros: micros,
})

/** What every driver must do to tokens that were made; `open` is the same as for `tokenStoreContract`. */
export function tokenChangesContract(name: string, open: (test: Owner) => Promise<OpenedStore>): void {
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

  t.test(`${name}: rotated secrets are found until their time is over`, async (test) => {
    const opened = await open(test)
    const wish = newToken(10)
    const { id } = await opened.store.mint(wish)
    const [first, second] = [rotation(id, NOW + 5000), rotation(id, NOW + 9000)]
    const once = await opened.store.rotate(first)
    test.match(once, { id, hash: first.hash, prefix: first.prefix, previous: [{ hash: wish.hash }] })
    test.same(await opened.store.rotate(first), once, 'the same rotation twice is one')
    await opened.store.rotate(second)
    const store = await opened.reopen()
    const previous = [
      { hash: wish.hash, until: NOW + 5000 },
      { hash: first.hash, until: NOW + 9000 },
    ]
    for (const hash of [wish.hash, first.hash, second.hash])
      test.match(await store.find(hash), { id, hash: second.hash, previous })
    await test.rejects(store.mint(newToken(1, { hash: wish.hash })), { code: 'name_taken' })
    const other = await store.mint(newToken(1))
    await test.rejects(store.rotate({ ...second, tokenId: other.id }), { code: 'name_taken' })
    const last = rotation(id, NOW)
    test.equal((await store.rotate(last))?.previous, undefined, 'without an overlap all others end')
    for (const { hash } of [wish, first, second]) test.equal(await store.find(hash), undefined)
    test.match(await store.find(last.hash), { id })
    test.equal(await store.rotate(rotation('nobody', NOW)), undefined)
  })

  t.test(
    `${name}: tokens are turned off and on, and changes at once do not undo each other`,
    async (test) => {
      const opened = await open(test)
      const wish = newToken(10, { addresses: ['10.0.0.0/8', '2001:db8::/32'], requestsInFlight: 3 })
      const { id } = await opened.store.mint(wish)
      test.equal(await opened.store.disable('nobody', 1), undefined)
      test.equal(await opened.store.enable('nobody'), undefined)
      test.match(await opened.store.disable(id, 111), { disabledAt: 111 })
      test.match(await opened.store.disable(id, 222), { disabledAt: 111 })
      test.equal((await opened.store.enable(id))?.disabledAt, undefined)
      const { store } = opened
      await Promise.all([
        store.disable(id, 333),
        store.adjust(change(id, 5)),
        store.rotate(rotation(id, NOW + 1)),
      ])
      const after = await (await opened.reopen()).find(wish.hash)
      test.match(after, { id, disabledAt: 333, addresses: wish.addresses, requestsInFlight: 3 })
      test.not(after?.hash, wish.hash)
    },
  )

  t.test(`${name}: revoked is for good: no new secret, no credits, no way back`, async (test) => {
    const { store } = await open(test)
    const { id, hash } = await store.mint(newToken(100))
    await store.revoke(id, NOW)
    const refused = { code: 'invalid_request', message: /revoked for good/ }
    await test.rejects(store.enable(id), refused)
    await test.rejects(store.rotate(rotation(id, NOW)), refused)
    await test.rejects(store.adjust(change(id, 5)), refused)
    test.match(await store.adjust(change(id, -40)), { id }, 'what is left may be taken')
    test.match(await store.credits(id), { creditedMicros: 60 })
    test.match(await store.find(hash), { revokedAt: NOW })
  })

  t.test(`${name}: of a hundred requests at once exactly as many get a place as there are`, async (test) => {
    const { store } = await open(test)
    const [one, other] = [await store.mint(newToken(1)), await store.mint(newToken(1))]
    const asked = await Promise.all(Array.from({ length: 100 }, () => store.enter(one.id, 7)))
    const places = asked.filter((place): place is Place => place !== undefined)
    test.equal(places.length, 7)
    test.equal(new Set(places.map(({ id }) => id)).size, 7)
    test.ok(await store.enter(other.id, 1), 'another token has places of its own')
    const [first] = places
    if (first === undefined) return test.fail('no place')
    for (const _ of [1, 2, 3]) store.leave(first)
    test.ok(await store.enter(one.id, 7), 'a place that was left is free')
    test.equal(await store.enter(one.id, 7), undefined, 'and left twice it is one')
  })
}
