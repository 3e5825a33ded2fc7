import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { ServiceRow } from '../../src/stores/contracts/usage-columns.ts'
import { NotedRows } from '../../src/stores/noted-rows.ts'
import { waitUntil } from '../support/journey.ts'
import { serviceRowOf } from '../support/service-rows.ts'

/** A store that takes rows, or does not, as it is told. */
function openSink() {
  const state = { takes: true, hangs: false, said: [] as [object, string][] }
  const written: string[] = []
  const asked: [first: number, count: number][] = []
  const sink = {
    write: async (rows: readonly ServiceRow[], first: number) => {
      asked.push([first, rows.length])
      if (state.hangs) return new Promise<void>(() => undefined)
      if (!state.takes) throw new Error('away')
      written.push(...rows.map(({ requestId }) => requestId))
    },
  }
  const warn = (fields: object, text: string) => state.said.push([fields, text])
  return { state, written, asked, sink, warn }
}

const names = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => `r${from + n}`)

t.test('rows are gathered and written in batches, a busy second’s worth without waiting', async (t) => {
  const { written, asked, sink, warn } = openSink()
  const rows = new NotedRows({ sink, warn })
  for (const name of names(0, 3)) rows.note(serviceRowOf(name))
  t.same(written, [], 'not at once')
  t.same(rows.counts(), { waiting: 3, dropped: 0 })
  const from = performance.now()
  await waitUntil(
    () => written.length,
    (count) => count === 3,
  )
  t.ok(performance.now() - from < 1_000)
  for (const name of names(3, 1_003)) rows.note(serviceRowOf(name))
  await waitUntil(
    () => written.length,
    (count) => count === 1_003,
  )
  t.same(written, names(0, 1_003), 'in order, each once')
  t.ok(asked.every(([, count]) => count <= 256))
  t.same(rows.counts(), { waiting: 0, dropped: 0 })
  await rows.close()
})

t.test(
  'while the store takes none they wait, up to a bound; then the oldest are dropped and counted',
  async (t) => {
    const { state, written, asked, sink, warn } = openSink()
    const rows = new NotedRows({ sink, warn, most: 3_000 })
    state.takes = false
    for (const name of names(0, 10_000)) rows.note(serviceRowOf(name))
    const { waiting, dropped } = rows.counts()
    t.equal(waiting + dropped, 10_000)
    t.ok(waiting <= 3_000 + 256)
    t.ok(dropped >= 6_000)
    t.equal(state.said.length, 1, 'told once, not for each row')
    await waitUntil(
      () => asked.length,
      (count) => count >= 2,
    )
    t.same(asked[0], asked[1], 'what was perhaps written comes again under the same number')
    state.takes = true
    await waitUntil(
      () => rows.counts().waiting,
      (left) => left === 0,
    )
    t.equal(written.length, 10_000 - dropped)
    t.equal(written.at(-1), 'r9999', 'the latest stay')
    t.equal(new Set(written).size, written.length)
    await rows.close()
  },
)

t.test(
  'the end writes what is left, does not wait for a store that hangs, and says what was lost',
  async (t) => {
    const good = openSink()
    const rows = new NotedRows(good)
    for (const name of names(0, 700)) rows.note(serviceRowOf(name))
    await rows.close()
    t.same(good.written, names(0, 700))
    rows.note(serviceRowOf('late'))
    t.same(rows.counts(), { waiting: 0, dropped: 1 })
    await rows.close()
    for (const trouble of ['hangs', 'takes'] as const) {
      const bad = openSink()
      bad.state[trouble] = trouble === 'hangs'
      const waiting = new NotedRows(bad)
      waiting.note(serviceRowOf('lost'))
      const from = performance.now()
      await waiting.close()
      t.ok(performance.now() - from < 3_000)
      t.same(waiting.counts(), { waiting: 0, dropped: 1 })
      t.match(bad.state.said, [[{ dropped: 1 }, /dropped/]])
      await sleep(0)
      t.same(bad.written, [])
    }
  },
)
