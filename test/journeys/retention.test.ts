import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { USAGE_COLUMNS } from '../../src/stores/contracts/usage-columns.ts'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { ask, newToken, usageOf } from '../contract/token-store.ts'
import { startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'

const DAY_MS = 86_400_000
const ROWS = 40_000
/** Those of paid requests. */
const PAID_NAMES = USAGE_COLUMNS.slice(0, 23).map(({ name }) => name)
const SUMS =
  'SELECT sum(requests) AS requests, sum(charged_micros) AS charged, sum(input_tokens) AS input FROM usage'

function query(dbDir: string, sql: string) {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'), { readOnly: true, timeout: 5_000 })
  const found = db.prepare(sql).get()
  db.close()
  return { ...found }
}

/** A store whose tokens were charged for many requests, over two years. */
async function oldStore(dbDir: string): Promise<void> {
  const { tokens: store, close } = await openStores({ dbDir })
  const { id } = await store.mint(newToken(1e9))
  const hold = await store.hold(ask(id, 10))
  await store.settle(hold?.id ?? 0, usageOf(id, 7))
  await close()
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  const values = '200, 1, 0, 1, 0, 0, 0, 0, 0, 7, 7, 1, 1, 1'
  const rows = db.prepare(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS})
    INSERT INTO usage (${PAID_NAMES}) SELECT 'r' || i, ?, 'ann', 'demo', 'demo', 'demo', 'chat', ${values}, ? + i * 1500000, 1 FROM n`)
  rows.run(id, Date.now() - 730 * DAY_MS)
  db.prepare('UPDATE accounts SET charged_micros = charged_micros + ?').run(7 * ROWS)
  db.prepare(`INSERT OR REPLACE INTO meta VALUES ('clockAt', ?)`).run(String(Date.now()))
  db.close()
}

t.test(
  'a gateway that is killed while it rolls rows up loses none, and goes on at its next start',
  async (t) => {
    const dbDir = join(temporaryFolder(t), 'db')
    await oldStore(dbDir)
    const before = query(dbDir, SUMS)
    const left = () => Number(query(dbDir, "SELECT count(*) AS n FROM usage WHERE request_id LIKE 'r%'").n)
    const soon = `--import=${join(import.meta.dirname, '..', 'support', 'early-look.ts')}`
    const env = { USAGE_DAYS: '30', NODE_OPTIONS: soon }
    for (let round = 0; round < 3; round++) {
      const at = left()
      const gateway = await startGateway(t, { dbDir, env })
      await waitUntil(
        async () => left(),
        (now) => now < at,
      )
      await gateway.kill9()
      t.ok(left() > 0, 'it was in the midst of it')
      t.same(query(dbDir, SUMS), before)
      const { books, faults } = await readBooks({ dbDir })
      t.same(faults, [])
      t.same(
        books.filter((book) => book.chargedMicros !== book.rowsMicros),
        [],
      )
    }
    const gateway = await startGateway(t, { dbDir, env })
    t.match(await gateway.waitForLine(({ msg }) => msg.startsWith('usage rows beyond')), { keptDays: 30 })
    t.equal(
      left(),
      Number(
        query(
          dbDir,
          `SELECT count(*) AS n FROM usage WHERE request_id LIKE 'r%'
    AND time >= ${Math.floor(Date.now() / DAY_MS) * DAY_MS - 30 * DAY_MS}`,
        ).n,
      ),
    )
    t.same(query(dbDir, SUMS), before)
    await gateway.stop()
  },
)
