import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { USAGE_COLUMNS } from '../../src/stores/contracts/usage-columns.ts'
import { openStores } from '../../src/stores/open.ts'
import { Database } from '../../src/stores/sql/database.ts'
import { openPostgresUsage } from '../../src/stores/sql/postgres-usage.ts'
import { readableNames } from '../../src/stores/sql/readable-view.ts'
import { openSqliteUsage } from '../../src/stores/sql/sqlite-usage.ts'
import { ask, newToken, usageOf } from '../contract/token-store.ts'
import { startPostgres } from '../support/postgres.ts'
import { folder } from './folders.ts'

const AT = Date.UTC(2026, 10, 28, 9, 5, 7, 42)
const READ =
  'SELECT time, "user", model, input_tokens, cost_credits, charged_credits, requests FROM usage_readable'
const seen = { time: '2026-11-28T09:05:07.042Z', user: 'ann', model: 'demo', input_tokens: 3, requests: 1 }

function query(dbDir: string, sql: string) {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  const rows = db.prepare(sql).all()
  db.close()
  return rows.map((row) => ({ ...row }))
}

t.test('files: people read times as text and charges in credits, also in a store of before', async (test) => {
  const dbDir = await folder(test)
  const { tokens, close } = await openStores({ dbDir })
  const { id } = await tokens.mint(newToken(5_000_000))
  const hold = await tokens.hold(ask(id, 1_500_000))
  await tokens.settle(hold?.id ?? 0, { ...usageOf(id, 1_500_001), at: AT })
  await close()
  const row = { ...seen, cost_credits: 1.500001, charged_credits: 1.500001 }
  test.same(query(dbDir, READ), [row])
  query(dbDir, 'SELECT 1')
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  db.exec('DROP VIEW usage_readable; CREATE VIEW usage_readable AS SELECT 1 AS of_before')
  db.close()
  await (await openStores({ dbDir })).close()
  test.same(query(dbDir, READ), [row])
  test.same(Object.keys(query(dbDir, 'SELECT * FROM usage_readable')[0] ?? {}), readableNames(USAGE_COLUMNS))
})

t.test('replicas: the same in their own file and in PostgreSQL', async (test) => {
  const [dbDir, postgres] = [await folder(test), await startPostgres(test)]
  const entry = { key: 'one', chargedMicros: 15, row: { ...usageOf('tok', 20), at: AT } }
  const logs = await Promise.all([openSqliteUsage(dbDir), openPostgresUsage(new Database(postgres.url))])
  for (const log of logs) {
    await log.write([entry])
    await log.close()
  }
  test.same(query(dbDir, READ), [{ ...seen, cost_credits: 0.00002, charged_credits: 0.000015 }])
  const exact = { cost_credits: '0.000020', charged_credits: '0.000015' }
  const [row] = await postgres.query(READ)
  test.same({ ...row }, { ...seen, ...exact, input_tokens: '3', requests: '1' })
  // The next one finds it, and opens without a right to make another.
  await (await openPostgresUsage(new Database(postgres.url))).close()
})

t.test('the manual names every column of a row, in their order', (test) => {
  const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'usage.md'), 'utf8')
  const table = text.slice(text.indexOf('| column | unit |'))
  const rows = Array.from(table.slice(0, table.indexOf('\n\n')).matchAll(/^\| (`[^|]+) \|([^|]+)\|/gm))
  const named = rows.flatMap(([, names = '']) => Array.from(names.matchAll(/`(\w+)`/g), ([, name]) => name))
  test.same(
    named,
    USAGE_COLUMNS.map(({ name }) => name),
  )
  for (const { name, type } of USAGE_COLUMNS) {
    const [, , unit = ''] = rows.find(([, names = '']) => names.includes(`\`${name}\``)) ?? []
    if (name.endsWith('_micros')) test.match(unit, /millionth of a credit/, name)
    if (name.endsWith('_ms') || name === 'time') test.match(unit, /ms/, name)
    if (type !== 'text') test.not(unit.trim(), '', name)
  }
  test.end()
})
