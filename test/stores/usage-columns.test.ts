import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { readUsage, USAGE_COLUMNS } from '../../src/stores/contracts/usage-columns.ts'
import { Ledger } from '../../src/stores/file/ledger.ts'
import { openLedgerFile } from '../../src/stores/file/ledger-file.ts'
import { Database } from '../../src/stores/sql/database.ts'
import { openPostgresUsage } from '../../src/stores/sql/postgres-usage.ts'
import { openSqliteUsage } from '../../src/stores/sql/sqlite-usage.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { startPostgres } from '../support/postgres.ts'
import { folder, type Owner } from './folders.ts'

t.setTimeout(120_000)
const postgres = await startPostgres(t)

const WITH_TEAM = [...USAGE_COLUMNS, { name: 'team', field: 'team', type: 'text' }] as const

const TOKEN = { ...newToken(1_000), id: 'tok', createdAt: 0 }

async function charge(dbDir: string, columns: typeof WITH_TEAM | undefined, team: string): Promise<void> {
  const file = openLedgerFile(dbDir, undefined, columns)
  const ledger = new Ledger(file, [TOKEN])
  const hold = await ledger.hold({ accounts: ['tok'], requestId: team, micros: 5, leastMicros: 5 })
  const row = { ...usageOf('tok', 5), team }
  await ledger.settle(hold?.id ?? 0, row)
  ledger.close()
}

function rowsIn(dbDir: string): object[] {
  const db = new DatabaseSync(`${dbDir}/usage.sqlite`, { readOnly: true })
  const rows = db.prepare('SELECT * FROM usage ORDER BY rowid').all()
  db.close()
  return rows.map((row) => readUsage(WITH_TEAM, row))
}

t.test(
  'a column that is added to the list is in the ledger, also in one of before, which older lists can go on with',
  async (test) => {
    const dbDir = await folder(test)
    await charge(dbDir, undefined, 'unseen')
    await charge(dbDir, WITH_TEAM, 'red')
    await charge(dbDir, undefined, 'unseen')
    test.match(rowsIn(dbDir), [
      { tokenId: 'tok', chargedMicros: 5, team: '' },
      { tokenId: 'tok', chargedMicros: 5, team: 'red', latencyMs: 13, estimated: false },
      { tokenId: 'tok', chargedMicros: 5, team: '' },
    ])
  },
)

t.test(
  'the usage table of a new store begins as that of the first release, and newer columns follow',
  async (test) => {
    const dbDir = await folder(test)
    await charge(dbDir, undefined, '')
    const db = new DatabaseSync(`${dbDir}/usage.sqlite`)
    test.teardown(() => db.close())
    const found = db.prepare("SELECT sql FROM sqlite_schema WHERE name = 'usage'").get()
    const plain = String(found?.sql).replaceAll(/\s+/g, ' ').replaceAll('( ', '(').replaceAll(' )', ')')
    test.equal(plain.slice(0, FIRST_RELEASE.length), FIRST_RELEASE)
    test.match(
      plain.slice(FIRST_RELEASE.length),
      /^(?:, \w+ (?:TEXT|INTEGER|REAL) NOT NULL DEFAULT (?:''|\d+))*\) STRICT$/,
    )
  },
)

const FIRST_RELEASE =
  'CREATE TABLE usage (request_id TEXT NOT NULL, token_id TEXT NOT NULL, user TEXT NOT NULL, model TEXT NOT NULL, ' +
  'provider TEXT NOT NULL, model_used TEXT NOT NULL, endpoint TEXT NOT NULL, status INTEGER NOT NULL, ' +
  'input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, ' +
  'reasoning_tokens INTEGER NOT NULL, seconds REAL NOT NULL, characters INTEGER NOT NULL, ' +
  'images INTEGER NOT NULL, estimated INTEGER NOT NULL, cost_micros INTEGER NOT NULL, ' +
  'charged_micros INTEGER NOT NULL, latency_ms INTEGER NOT NULL, first_byte_ms INTEGER NOT NULL, ' +
  'attempts INTEGER NOT NULL, time INTEGER NOT NULL'

async function openBoth(test: Owner) {
  const dbDir = await folder(test)
  return [
    ['SQLite', (columns?: typeof WITH_TEAM) => openSqliteUsage(dbDir, columns && { columns })],
    [
      'PostgreSQL',
      (columns?: typeof WITH_TEAM) => openPostgresUsage(new Database(postgres.url), columns && { columns }),
    ],
  ] as const
}

for (const [name, open] of await openBoth(t))
  t.test(`${name}: a column that is added to the list is in the row read back`, async (test) => {
    const entryOf = (key: string, team: string) => {
      const row = { ...usageOf('tok', 2), seconds: 1.5, team }
      return { key, chargedMicros: 2, row }
    }
    const first = await open()
    const [before, after] = [entryOf('a', 'unseen'), entryOf('b', 'red')]
    before.row.at = after.row.at - 1
    await first.write([before])
    await first.close()
    const log = await open(WITH_TEAM)
    test.teardown(() => log.close())
    await log.write([after])
    const { rows, next } = await log.read({ tokenId: 'tok', fromMs: 0, untilMs: Date.now() + 1, most: 10 })
    test.equal(next, undefined)
    const whole = { chargedMicros: 2, latencyMs: 13, requests: 1 }
    test.strictSame(rows, [
      { ...before.row, ...whole, team: '' },
      { ...after.row, ...whole, team: 'red' },
    ])
  })
