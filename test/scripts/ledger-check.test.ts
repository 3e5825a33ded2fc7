import { randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import Fastify from 'fastify'
import t from 'tap'
import { openAdminDoor } from '../../src/admin/door.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { askOf, crashedCopy, folder, openIn } from '../stores/folders.ts'
import { bareEnv, runProcess } from '../support/process.ts'
import type { Owner } from '../support/waiting.ts'

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'ledger-check.js')

const check = (test: Owner, dbDir: string, ...args: string[]) =>
  runProcess(test, { args: [SCRIPT, ...args], env: { ...bareEnv(), DB_DIR: dbDir }, cwd: '/' })

/** One token that was charged 3 and holds 4 of 10 credits. */
async function openUsed(test: Owner) {
  const dbDir = await folder(test)
  const store = await openIn(test, dbDir)
  const { id } = await store.mint(newToken(10_000_000))
  const hold = await store.hold(askOf(id, 5_000_000))
  await store.settle(hold?.id ?? 0, usageOf(id, 3_000_000))
  const open = await store.hold(askOf(id, 4_000_000))
  return { dbDir, store, id, holdId: open?.id ?? 0 }
}

t.test('the sums add up on a live store, on a crashed one and on a stopped one', async (test) => {
  const { dbDir, store, id, holdId } = await openUsed(test)
  const door = await openAdminDoor({ tokens: store, dbDir, logger: Fastify().log })
  const live = await check(test, dbDir, '--json')
  test.equal(live.code, 0, live.stderr)
  const sums = { credited: 10, balance: 3, held: 4, charged: 3 }
  test.match(JSON.parse(live.stdout), {
    addsUp: true,
    ...sums,
    tokens: [{ id, user: 'ann', ...sums }],
    faults: [],
  })
  store.markAnswered(holdId, 1_000_000, usageOf(id, 1_000_000))
  await store.settle((await store.hold(askOf(id, 0)))?.id ?? 0, usageOf(id, 0))
  const crashed = crashedCopy(dbDir, join(dbDir, 'crashed'))
  test.match(JSON.parse((await check(test, crashed, '--json')).stdout), { addsUp: true, ...sums })
  await door.close()
  await store.close()
  const stopped = await check(test, dbDir)
  test.match(stopped, {
    code: 0,
    stderr: '',
    stdout: /^tokens +1\ncredited +10\nbalance +3\nheld +4\ncharged +3\n/,
  })
})

t.test('a charge without its row, a row without its charge and a lost credit are exit 1', async (test) => {
  const { dbDir, store } = await openUsed(test)
  await store.close()
  const change = (sql: string) => {
    const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
    db.exec(sql)
    db.close()
  }
  const isWrong = async (text: RegExp) => {
    const { code, stdout, stderr } = await check(test, dbDir, '--json')
    test.equal(code, 1)
    test.match(stderr, text)
    test.equal(JSON.parse(stdout).addsUp, false)
  }
  change('UPDATE accounts SET charged_micros = charged_micros + 1')
  await isWrong(/3000001 are charged, its usage rows say 3000000/)
  change('UPDATE accounts SET charged_micros = charged_micros - 1')
  test.equal((await check(test, dbDir)).code, 0)
  change("UPDATE usage SET token_id = 'tok_other'")
  await isWrong(/charges "tok_other", which tokens\.json does not know/)
  change(`UPDATE usage SET token_id = (SELECT token_id FROM accounts)`)
  const path = join(dbDir, 'tokens.json')
  writeFileSync(
    path,
    readFileSync(path, 'utf8').replace('"creditedMicros":10000000', '"creditedMicros":2000000'),
  )
  await isWrong(/below zero/)
})

t.test('a store that is not there or is no store is exit 1, a misuse exit 2', async (test) => {
  const dbDir = join(await folder(test), randomUUID())
  test.match(await check(test, dbDir), { code: 1, stdout: '', stderr: /usage\.sqlite" is not there/ })
  test.match(await check(test, dbDir, '--nope'), { code: 2, stdout: '' })
  const used = await openUsed(test)
  await used.store.close()
  writeFileSync(join(used.dbDir, 'usage.sqlite'), 'not a database, but long enough to look into'.repeat(30))
  test.match(await check(test, used.dbDir), {
    code: 1,
    stdout: '',
    stderr: /^ledger-check: .*damaged or foreign/,
  })
})
