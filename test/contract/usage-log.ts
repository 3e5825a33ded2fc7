import t from 'tap'
import type { UsageEntry, UsageLog, UsagePage } from '../../src/stores/contracts/usage-log.ts'
import { type Owner, usageOf } from './token-store.ts'

const UNTIL = 2_000_000_000_000

const entryOf = (key: string, tokenId: string, { at = 1_000, requestId = key, micros = 2 } = {}) => {
  const entry: UsageEntry = {
    key,
    chargedMicros: micros,
    row: { ...usageOf(tokenId, micros), at, requestId },
  }
  return entry
}

/** What a usage log must do in every database; `open` may share its rows with other tests. */
export function usageLogContract(name: string, open: (test: Owner) => Promise<UsageLog>): void {
  t.test(`${name}: what is delivered twice, even at once, is one row`, async (test) => {
    const log = await open(test)
    test.teardown(() => log.close())
    const entries = Array.from({ length: 50 }, (_, n) => entryOf(`a:${n}`, 'tok'))
    await Promise.all([log.write(entries), log.write(entries)])
    await log.write(entries.slice(10))
    await log.write([...entries.slice(0, 1), entryOf('b:1', 'tok', { micros: 5 })])
    const { rows } = await log.read({ tokenId: 'tok', fromMs: 0, untilMs: UNTIL, most: 1_000 })
    test.equal(rows.length, 51)
    test.equal(
      rows.reduce((sum, row) => sum + row.chargedMicros, 0),
      105,
    )
  })

  t.test(`${name}: no name in a row keeps others from being written`, async (test) => {
    const log = await open(test)
    test.teardown(() => log.close())
    const odd = entryOf('odd:0', 'odd')
    const row = { ...odd.row, user: 'a\0b', model: '\0', path: '\ud800' }
    await log.write([{ ...odd, row }, entryOf('odd:1', 'odd')])
    const { rows } = await log.read({ tokenId: 'odd', fromMs: 0, untilMs: UNTIL, most: 10 })
    test.equal(rows.length, 2)
    test.match(
      rows.find(({ requestId }) => requestId === 'odd:0'),
      { user: 'a\uFFFDb', model: '\uFFFD' },
    )
  })

  t.test(`${name}: a token's rows of a time span are read page by page, each once`, async (test) => {
    const log = await open(test)
    test.teardown(() => log.close())
    const late = [0, 1, 2].map((n) =>
      entryOf(`paged:late:${n}`, 'paged', { at: 1_003, requestId: 'late', micros: n }),
    )
    const own = Array.from({ length: 7 }, (_, n) => entryOf(`paged:${n}`, 'paged', { at: 1_000 + n }))
    const strangers = [entryOf('stranger', 'other'), entryOf('paged:before', 'paged', { at: 999 })]
    await log.write([...own.toReversed(), ...late, ...strangers])
    for (const most of [1, 2, 3, 50]) {
      const found: string[] = []
      let page: UsagePage = { rows: [], next: undefined }
      do {
        page = await log.read({ tokenId: 'paged', fromMs: 1_000, untilMs: 1_006, most, after: page.next })
        test.ok(page.rows.length <= most)
        found.push(...page.rows.map((row) => `${row.requestId} ${row.chargedMicros}`))
      } while (page.next !== undefined)
      const plain = [0, 1, 2, 'late 0', 'late 1', 'late 2', 3, 4, 5]
      const expected = plain.map((one) => (typeof one === 'number' ? `paged:${one} 2` : one))
      test.same(found, expected, `${most} at a time`)
    }
  })
}
