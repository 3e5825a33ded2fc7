import { randomUUID } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { accountsContract } from '../contract/accounts.ts'
import { answerMarksContract } from '../contract/answer-marks.ts'
import { idempotencyContract } from '../contract/idempotency.ts'
import { placesContract } from '../contract/places.ts'
import { raisedHoldsContract } from '../contract/raised-holds.ts'
import { serviceRowsContract } from '../contract/service-rows.ts'
import { sharedAccountsContract } from '../contract/shared-accounts.ts'
import { tokenHistories } from '../contract/token-histories.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { tokensContract } from '../contract/tokens.ts'
import { askOf, crashedCopy, folder, type Owner, openIn, usageRowsIn } from './folders.ts'

const open = async (test: Owner) => {
  const dbDir = await folder(test)
  const store = await openIn(test, dbDir)
  let last = store
  const reopen = async () => {
    await last.close()
    last = await openIn(test, dbDir)
    return last
  }
  return { store, reopen, books: () => readBooks({ dbDir }), rows: async () => usageRowsIn(dbDir) }
}

tokensContract('file', open)
accountsContract('file', open)
placesContract('file', open)
answerMarksContract('file', open)
raisedHoldsContract('file', open)
sharedAccountsContract('file', open)
serviceRowsContract('file', open)
tokenHistories('file', open, { runs: 60, steps: 60 })
idempotencyContract('file', async (test) => {
  const dbDir = await folder(test)
  const openKeys = async (path: string) => {
    const stores = await openStores({ dbDir: path })
    test.teardown(() => stores.close())
    return stores
  }
  const stores = await openKeys(dbDir)
  const reopen = async () => {
    await stores.close()
    return openKeys(dbDir)
  }
  return { ...stores, reopen, crash: () => openKeys(crashedCopy(dbDir, join(dbDir, 'crashed'))) }
})

const modeOf = (path: string) => statSync(path).mode & 0o777

t.test('only the owner may read what is stored, and no secret is in it', async (test) => {
  const dbDir = join(await folder(test), 'db')
  mkdirSync(dbDir)
  chmodSync(dbDir, 0o755)
  writeFileSync(join(dbDir, 'tokens.json.tmp-abc'), 'left by a crash')
  const store = await openIn(test, dbDir)
  await store.mint(newToken(5))
  test.equal(modeOf(dbDir), 0o700)
  for (const name of ['tokens.json', 'usage.sqlite', 'usage.sqlite-wal'])
    test.equal(modeOf(join(dbDir, name)), 0o600, name)
  test.notOk(
    (await readdir(dbDir)).some((name) => name.includes('tmp')),
    'leftovers are swept',
  )
  const content: unknown = JSON.parse(readFileSync(join(dbDir, 'tokens.json'), 'utf8'))
  test.match(content, {
    version: 1,
    storeId: String,
    tokens: [{ hash: /^[0-9a-f]{64}$/, creditedMicros: 5 }],
  })
})

t.test(
  'a second server on the same folder is refused at once, in this process and in another',
  async (test) => {
    const dbDir = await folder(test)
    const store = await openIn(test, dbDir)
    const started = performance.now()
    await test.rejects(openStores({ dbDir }), { reason: 'locked', message: /Another server uses DB_DIR/ })
    test.ok(performance.now() - started < 1000)
    await store.close()
    test.ok((await openIn(test, dbDir)).isReady(), 'the folder is free once the first has closed')
  },
)

t.test(
  'an answer that had begun is charged its least after a crash, other holds are given back',
  async (test) => {
    const dbDir = await folder(test)
    const store = await openIn(test, dbDir)
    const { id } = await store.mint(newToken(1000))
    const [begun] = await Promise.all([store.hold(askOf(id, 300)), store.hold(askOf(id, 200))])
    store.markAnswered(begun?.id ?? 0, 70, usageOf(id, 70))
    await store.settle((await store.hold(askOf(id, 10)))?.id ?? 0, usageOf(id, 10))
    const after = await openIn(test, crashedCopy(dbDir, join(dbDir, 'crashed')))
    test.same(await after.credits(id), {
      creditedMicros: 1000,
      balanceMicros: 920,
      heldMicros: 0,
      chargedMicros: 80,
    })
    await after.close()
    const db = new DatabaseSync(join(dbDir, 'crashed', 'usage.sqlite'))
    test.teardown(() => db.close())
    test.same(
      db
        .prepare('SELECT charged_micros, estimated, latency_ms FROM usage ORDER BY charged_micros')
        .all()
        .map((row) => ({ ...row })),
      [
        { charged_micros: 10, estimated: 0, latency_ms: 13 },
        { charged_micros: 70, estimated: 1, latency_ms: 13 },
      ],
    )
    test.equal(db.prepare('SELECT count(*) AS n FROM holds').get()?.n, 0)
  },
)

t.test('who reads the books of an answer that has begun sees its hold as it was raised', async (test) => {
  const dbDir = await folder(test)
  const store = await openIn(test, dbDir)
  const { id } = await store.mint(newToken(1000))
  const begun = await store.hold(askOf(id, 300))
  const heldMicros = async (name: string) =>
    (await readBooks({ dbDir: crashedCopy(dbDir, join(dbDir, name)) })).books[0]?.heldMicros
  // In the turn of the mark, and in a later one.
  store.markAnswered(begun?.id ?? 0, 70, usageOf(id, 70))
  await store.raise(begun?.id ?? 0, 400)
  await store.settle((await store.hold(askOf(id, 0)))?.id ?? 0, usageOf(id, 0))
  test.equal(await heldMicros('first'), 400)
  await store.raise(begun?.id ?? 0, 500)
  await store.settle((await store.hold(askOf(id, 0)))?.id ?? 0, usageOf(id, 0))
  test.equal(await heldMicros('second'), 500)
  const after = await openIn(test, join(dbDir, 'second'))
  test.match(await after.credits(id), { balanceMicros: 930, heldMicros: 0, chargedMicros: 70 })
})

t.test(
  'a ledger of before shared charges is read as it is, and gets their table when it is opened',
  async (test) => {
    const dbDir = await folder(test)
    const first = await openIn(test, dbDir)
    const { id } = await first.mint(newToken(1000))
    const begun = await first.hold(askOf(id, 300))
    first.markAnswered(begun?.id ?? 0, 70, usageOf(id, 70))
    await first.settle((await first.hold(askOf(id, 20)))?.id ?? 0, usageOf(id, 20))
    const old = crashedCopy(dbDir, join(dbDir, 'old'))
    const db = new DatabaseSync(join(old, 'usage.sqlite'))
    const held = () =>
      db
        .prepare('SELECT token_id, micros, least_micros FROM holds')
        .all()
        .map((row) => ({ ...row }))
    test.same(held(), [{ token_id: id, micros: 300, least_micros: 70 }], 'a hold stands there as it ever did')
    db.exec('DROP TABLE shared_charges')
    db.close()
    const sums = {
      creditedMicros: 1000,
      balanceMicros: 680,
      heldMicros: 300,
      chargedMicros: 20,
      rowsMicros: 20,
    }
    test.match(await readBooks({ dbDir: old }), { books: [{ tokenId: id, ...sums }], faults: [] })
    const store = await openIn(test, old)
    test.match(await store.credits(id), { balanceMicros: 910, heldMicros: 0, chargedMicros: 90 })
    const other = await store.mint(newToken(500))
    const shared = await store.hold({ ...askOf(id, 50), accounts: [id, other.id] })
    await store.settle(shared?.id ?? 0, usageOf(id, 50))
    const { books, faults } = await readBooks({ dbDir: old })
    test.same(faults, [])
    test.same(
      books.map(({ chargedMicros, rowsMicros }) => [chargedMicros, rowsMicros]),
      [
        [140, 140],
        [50, 50],
      ],
    )
  },
)

t.test('a crash anywhere in the very first start heals by itself', async (test) => {
  const dbDir = await folder(test)
  await (await openIn(test, dbDir)).close()
  const forget = () => {
    const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
    db.exec(`DELETE FROM meta WHERE key = 'initialised'`)
    db.close()
  }
  forget()
  await rm(join(dbDir, 'tokens.json'))
  await (await openIn(test, dbDir)).close()
  forget()
  await (await openIn(test, dbDir)).close()
  await Promise.all(['tokens.json', 'usage.sqlite'].map((name) => rm(join(dbDir, name))))
  writeFileSync(join(dbDir, 'usage.sqlite'), '')
  test.ok((await openIn(test, dbDir)).isReady())
})

t.test('fifty tokens minted at once into a store of ten thousand take well under a second', async (test) => {
  const dbDir = await folder(test)
  const first = await openIn(test, dbDir)
  await Promise.all(
    Array.from({ length: 10_000 }, (_, n) => first.mint(newToken(1_000_000, { user: `u${n}` }))),
  )
  const minting = performance.now()
  await Promise.all(Array.from({ length: 50 }, () => first.mint(newToken(1, { name: randomUUID() }))))
  const mintMs = performance.now() - minting
  test.ok(mintMs < 1000, `${Math.round(mintMs)} ms`)
  await first.close()
  const opening = performance.now()
  const store = await openIn(test, dbDir)
  const openMs = performance.now() - opening
  test.comment(`10,050 tokens: opened in ${openMs.toFixed(0)} ms, 50 minted in ${mintMs.toFixed(0)} ms`)
  test.equal((await store.list()).length, 10_050)
})
