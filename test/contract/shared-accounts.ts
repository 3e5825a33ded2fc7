import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { AccountList } from '../../src/stores/contracts/accounts.ts'
import type { Books } from '../../src/stores/contracts/books.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import { ask, change, newToken, type OpenedStore, type Owner, usageOf } from './token-store.ts'

export interface OpenedBooks extends OpenedStore {
  /** The sums that are stored, read beside the store. */
  books(): Promise<Books>
}

/** Credited, balance, held and charged of each. */
const sumsOf = (store: TokenStore, accounts: AccountList) =>
  Promise.all(
    accounts.map(async (id) => {
      const { creditedMicros, balanceMicros, heldMicros, chargedMicros } = await store.credits(id)
      return [creditedMicros, balanceMicros, heldMicros, chargedMicros]
    }),
  )

const mintTwo = async (store: TokenStore, first: number, second: number): Promise<AccountList> => [
  (await store.mint(newToken(first))).id,
  (await store.mint(newToken(second))).id,
]

/** What every driver must do with a list of accounts that pay together; `open` is the same as for `accountsContract`. */
export function sharedAccountsContract(name: string, open: (test: Owner) => Promise<OpenedBooks>): void {
  t.test(`${name}: what several accounts pay is held on each of them, or on none`, async (test) => {
    const { store } = await open(test)
    const [own, other] = await mintTwo(store, 100_000, 1000)
    const both: AccountList = [own, other ?? '']
    const turned: AccountList = [other ?? '', own]
    const asks = Array.from({ length: 100 }, (_, n) => store.hold(ask(n % 2 === 0 ? both : turned, 100)))
    const granted = (await Promise.all(asks)).filter((hold) => hold !== undefined)
    test.equal(granted.length, 10, 'as many as the smaller one covers')
    test.ok(granted.every(({ balanceMicros, accounts }) => balanceMicros < 1000 && accounts.length === 2))
    test.same(await sumsOf(store, both), [
      [100_000, 99_000, 1000, 0],
      [1000, 0, 1000, 0],
    ])
    test.equal(await store.hold(ask([own, 'nobody'], 1)), undefined)
    test.match(await store.hold(ask(own, 99_000)), { micros: 99_000 }, 'the larger one has its own')
    const settled = await Promise.all(
      granted.map(({ id, accounts }) => store.settle(id, usageOf(accounts[0], 30))),
    )
    test.ok(settled.every(({ chargedMicros }) => chargedMicros === 30))
    test.same(await sumsOf(store, both), [
      [100_000, 700, 99_000, 300],
      [1000, 700, 0, 300],
    ])
  })

  t.test(
    `${name}: a shared charge is the same on all, and never more than each of them has`,
    async (test) => {
      const { store } = await open(test)
      const both = await mintTwo(store, 1000, 100)
      const hold = await store.hold(ask(both, 40))
      test.match(hold, { accounts: both, micros: 40, balanceMicros: 60 })
      const row = usageOf(both[0], 500)
      const twice = await Promise.all([store.settle(hold?.id ?? 0, row), store.settle(hold?.id ?? 0, row)])
      test.same(
        twice,
        Array(2).fill({ chargedMicros: 100, balanceMicros: 0 }),
        'settled twice it is one charge',
      )
      test.same(await sumsOf(store, both), [
        [1000, 900, 0, 100],
        [100, 0, 0, 100],
      ])
    },
  )

  t.test(`${name}: the rest of the smallest is given to its only request`, async (test) => {
    const { store } = await open(test)
    const both = await mintTwo(store, 1000, 50)
    const beside = await store.hold(ask(both[0], 10))
    test.equal(await store.hold(ask(both, 100, 51)), undefined, 'below its least')
    const rest = await store.hold(ask(both, 100, 50))
    test.match(rest, { micros: 50, balanceMicros: 0 }, 'what the larger one holds besides is no hindrance')
    test.equal(await store.hold(ask(both, 100, 0)), undefined, 'not beside another hold')
    test.same(await sumsOf(store, both), [
      [1000, 940, 60, 0],
      [50, 0, 50, 0],
    ])
    await store.settle(rest?.id ?? 0, usageOf(both[0], 0))
    await store.settle(beside?.id ?? 0, usageOf(both[0], 0))
    test.same(await sumsOf(store, both), [
      [1000, 1000, 0, 0],
      [50, 50, 0, 0],
    ])
  })

  t.test(`${name}: a shared hold is raised on all of its accounts, or on none`, async (test) => {
    const { store } = await open(test)
    const both = await mintTwo(store, 1000, 100)
    const hold = await store.hold(ask(both, 10))
    test.same(await store.raise(hold?.id ?? 0, 60), {
      id: hold?.id,
      accounts: both,
      micros: 60,
      balanceMicros: 40,
    })
    test.equal(await store.raise(hold?.id ?? 0, 101), undefined)
    test.match(await store.raise(hold?.id ?? 0, 500, 61), { micros: 100, balanceMicros: 0 })
    test.same(await sumsOf(store, both), [
      [1000, 900, 100, 0],
      [100, 0, 100, 0],
    ])
  })

  t.test(`${name}: several accounts are topped up or debited in one step, once`, async (test) => {
    const opened = await open(test)
    const both = await mintTwo(opened.store, 1000, 100)
    const [up, down, much] = [change(both, 50), change(both, -120), change(both, -600)]
    const asked = [up, up, up].map((one) => opened.store.adjust(one))
    test.ok((await Promise.all(asked)).every((token) => token?.id === both[0]))
    await opened.store.adjust(down)
    await test.rejects(opened.store.adjust(much), { code: 'balance_too_small' })
    await test.rejects(opened.store.adjust({ ...up, accounts: [both[0]] }), { code: 'idempotency_mismatch' })
    test.equal(await opened.store.adjust(change([both[0], 'nobody'], 5)), undefined)
    const wanted = [
      [930, 930, 0, 0],
      [30, 30, 0, 0],
    ]
    test.same(await sumsOf(opened.store, both), wanted)
    const store = await opened.reopen()
    test.match(await store.adjust(up), { id: both[0] }, 'known after a restart')
    test.match(await store.adjust(down), { id: both[0] })
    test.same(await sumsOf(store, both), wanted)
    await store.revoke(both[1] ?? '', Date.now())
    await test.rejects(store.adjust(change(both, 5)), { code: 'invalid_request' })
    test.same(await sumsOf(store, both), wanted, 'one of them is revoked: none gets anything')
  })

  t.test(
    `${name}: a crash charges each account of a shared answer its least, and gives the rest back`,
    async (test) => {
      const opened = await open(test)
      const both = await mintTwo(opened.store, 1000, 500)
      const [begun] = [await opened.store.hold(ask(both, 100)), await opened.store.hold(ask(both, 200))]
      opened.store.markAnswered(begun?.id ?? 0, 40, usageOf(both[0], 40))
      const store = await opened.reopen()
      test.same(await sumsOf(store, both), [
        [1000, 960, 0, 40],
        [500, 460, 0, 40],
      ])
      const { books, faults } = await opened.books()
      test.same(faults, [])
      test.same(
        books.map(({ chargedMicros, rowsMicros }) => [chargedMicros, rowsMicros]),
        [
          [40, 40],
          [40, 40],
        ],
      )
    },
  )

  t.test(`${name}: the books of accounts that pay together add up`, async (test) => {
    const opened = await open(test)
    const both = await mintTwo(opened.store, 1000, 500)
    for (const payers of [both, both, [both[0]], [both[1] ?? '']] as const) {
      const hold = await opened.store.hold(ask(payers, 100))
      await opened.store.settle(hold?.id ?? 0, usageOf(payers[0], 70))
    }
    const open_ = await opened.store.hold(ask(both, 100))
    opened.store.markAnswered(open_?.id ?? 0, 5, usageOf(both[0], 5))
    await opened.store.settle((await opened.store.hold(ask(both, 0)))?.id ?? 0, usageOf(both[0], 0))
    const { books, faults } = await opened.books()
    test.same(faults, [])
    const sums = new Map(books.map((book) => [book.tokenId, book]))
    test.match(
      both.map((id) => sums.get(id)),
      [
        { creditedMicros: 1000, balanceMicros: 690, heldMicros: 100, chargedMicros: 210, rowsMicros: 210 },
        { creditedMicros: 500, balanceMicros: 190, heldMicros: 100, chargedMicros: 210, rowsMicros: 210 },
      ],
    )
  })

  t.test(`${name}: a list that names an account twice is refused`, async (test) => {
    const { store } = await open(test)
    const { id } = await store.mint(newToken(100))
    const lists: AccountList[] = [
      [id, id],
      [id, ''],
      [id, 'a,b'],
      [id, 'a b'],
    ]
    for (const accounts of lists) {
      const wrong = { accounts, requestId: randomUUID(), micros: 1, leastMicros: 1 }
      await test.rejects(store.hold(wrong), RangeError)
      await test.rejects(store.adjust(change(accounts, 5)), RangeError)
    }
    test.match(await store.credits(id), { balanceMicros: 100, heldMicros: 0 })
  })
}
