import t from 'tap'
import { hashSecret } from '../../src/auth/client.ts'
import { ask, change, NOW, newToken, type OpenedStore, type Owner, rotation, usageOf } from './token-store.ts'

/** What every driver must do with the records of tokens. */
export function tokensContract(name: string, open: (test: Owner) => Promise<OpenedStore>): void {
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

  t.test(`${name}: a name that is written in two ways is one`, async (test) => {
    const { store } = await open(test)
    const first = { user: 'Jose\u0301', name: '\u212b  caf\u00e9' }
    const { user } = await store.mint(newToken(1, first))
    test.equal(user, first.user, 'what was kept is not rewritten')
    for (const twin of [
      first,
      { user: 'Jos\u00e9', name: 'A\u030a cafe\u0301' },
      { user: ' Jos\u00e9\u00a0', name: '\u00c5\u3000caf\u00e9' },
    ])
      await test.rejects(store.mint(newToken(1, twin)), { code: 'name_taken' })
    test.ok(await store.mint(newToken(1, { ...first, user: 'Jose' })))
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
      const wish = newToken(10, {
        addresses: ['10.0.0.0/8', '2001:db8::/32'],
        services: ['users', '/api/orders'],
        requestsInFlight: 3,
      })
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
      test.match(after, {
        id,
        disabledAt: 333,
        addresses: wish.addresses,
        services: wish.services,
        requestsInFlight: 3,
      })
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
}
