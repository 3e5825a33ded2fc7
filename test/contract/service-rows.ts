import t from 'tap'
import { USAGE_COLUMNS } from '../../src/stores/contracts/usage-columns.ts'
import { waitUntil } from '../support/journey.ts'
import { serviceRowOf } from '../support/service-rows.ts'
import { ask, newToken, type OpenedStore, type Owner, usageOf } from './token-store.ts'

export interface OpenedRows extends OpenedStore {
  /** What is on record, by the names of its columns, in any order. */
  rows(): Promise<Record<string, unknown>[]>
}

/** What every driver must do with rows of services. */
export function serviceRowsContract(name: string, open: (test: Owner) => Promise<OpenedRows>): void {
  t.test(
    `${name}: a hundred rows of services noted at once are on record a moment later, each once`,
    async (test) => {
      const { store, rows } = await open(test)
      for (let n = 0; n < 100; n++) store.note(serviceRowOf(`req_${n}`))
      store.note(
        serviceRowOf('of a person', { tokenId: '', user: 'sub-7', status: 499, method: 'POST', bytesIn: 9 }),
      )
      const found = await waitUntil(rows, ({ length }) => length >= 101)
      test.equal(found.length, 101)
      test.equal(new Set(found.map(({ request_id }) => request_id)).size, 101)
      const written = found.find(({ request_id }) => request_id === 'of a person')
      test.match(written, { token_id: '', user: 'sub-7', provider: 'users', endpoint: 'service', model: '' })
      test.match(written, { status: 499, method: 'POST', path: '/api/users/{id}', latency_ms: 12 })
      test.equal(Number(written?.bytes_in), 9)
      test.equal(Number(written?.bytes_out), 1234)
      test.equal(Number(written?.requests), 1)
      test.equal(Number(written?.charged_micros), 0)
      test.same(Object.keys(written ?? {}).toSorted(), USAGE_COLUMNS.map((column) => column.name).toSorted())
      test.match((await store.sizes()).serviceRows, { waiting: 0, dropped: 0 })
    },
  )

  t.test(
    `${name}: what was noted right before the end is there after it, beside what was paid for`,
    async (test) => {
      const opened = await open(test)
      const { store } = opened
      const { id } = await store.mint(newToken(1000))
      const hold = await store.hold(ask(id, 100))
      for (let n = 0; n < 700; n++) store.note(serviceRowOf(`req_${n}`, { tokenId: id }))
      await store.settle(hold?.id ?? 0, usageOf(id, 40))
      const again = await opened.reopen()
      test.match(await again.credits(id), { balanceMicros: 960, chargedMicros: 40, heldMicros: 0 })
      const found = await waitUntil(opened.rows, ({ length }) => length >= 701)
      test.equal(found.length, 701)
      const paid = found.filter(({ endpoint }) => endpoint === 'chat/completions')
      test.equal(paid.length, 1)
      test.match(paid[0], { method: '', path: '', token_id: id })
    },
  )

  t.test(`${name}: odd numbers and texts in a row keep no other row from being written`, async (test) => {
    const { store, rows } = await open(test)
    store.note(
      serviceRowOf('odd', { latencyMs: Number.NaN, bytesOut: -1, bytesIn: Number.POSITIVE_INFINITY }),
    )
    store.note(serviceRowOf('lone \ud800 surrogate'))
    store.note(serviceRowOf('even'))
    const found = await waitUntil(rows, ({ length }) => length >= 3)
    test.ok(found.some(({ request_id }) => request_id === 'even'))
  })
}
