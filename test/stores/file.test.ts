import { randomUUID } from 'node:crypto'
import { appendFileSync, chmodSync, cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import t from 'tap'
import { openStores } from '../../src/stores/open.ts'
import { StoreError } from '../../src/stores/store-error.ts'
import type { TokenStore } from '../../src/stores/token-store.ts'
import { newToken, tokenStoreContract, usageOf } from '../contract/token-store.ts'

type Owner = { teardown(close: () => unknown): unknown }

async function folder(test: Owner): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gateway-stores-'))
  test.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

async function openIn(test: Owner, dbDir: string): Promise<TokenStore> {
  const { tokens } = await openStores({ dbDir })
  test.teardown(() => tokens.close())
  return tokens
}

tokenStoreContract('file', async (test) => {
  const dbDir = await folder(test)
  const store = await openIn(test, dbDir)
  const reopen = async () => {
    await store.close()
    return openIn(test, dbDir)
  }
  return { store, reopen }
})

const askOf = (tokenId: string, micros: number) => ({
  tokenId,
  requestId: randomUUID(),
  micros,
  leastMicros: micros,
})

/** What a machine that dies right now leaves on its disk: the files as they are, without a goodbye. */
function crashedCopy(dbDir: string, to: string): string {
  mkdirSync(to, { recursive: true })
  for (const name of ['tokens.json', 'usage.sqlite', 'usage.sqlite-wal'])
    cpSync(join(dbDir, name), join(to, name))
  return to
}

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

const edited = (path: string, change: (content: Record<string, unknown>, tokens: object[]) => object) => {
  const content = JSON.parse(readFileSync(path, 'utf8'))
  writeFileSync(path, JSON.stringify(change(content, content.tokens)))
}
const withToken = (special: object) => (path: string) =>
  edited(path, (content, [first]) => ({ ...content, tokens: [{ ...first, ...special }] }))
const sql = (text: string) => (path: string) => {
  const db = new DatabaseSync(path)
  db.exec(text)
  db.close()
}

const DAMAGES: readonly (readonly [string, string, (path: string) => unknown])[] = [
  ['tokens.json', 'cut in half', (path) => writeFileSync(path, readFileSync(path).subarray(0, 60))],
  ['tokens.json', 'empty', (path) => writeFileSync(path, '')],
  ['tokens.json', 'full of NUL', (path) => writeFileSync(path, Buffer.alloc(300))],
  ['tokens.json', 'null', (path) => writeFileSync(path, 'null')],
  ['tokens.json', 'a list', (path) => writeFileSync(path, '[]')],
  ['tokens.json', 'an empty object', (path) => writeFileSync(path, '{}')],
  ['tokens.json', 'of a later version', (path) => edited(path, (content) => ({ ...content, version: 2 }))],
  ['tokens.json', 'of another store', (path) => edited(path, (content) => ({ ...content, storeId: 'x' }))],
  ['tokens.json', 'with no list', (path) => edited(path, (content) => ({ ...content, tokens: {} }))],
  ['tokens.json', 'with twins', (path) => edited(path, (c, [a]) => ({ ...c, tokens: [a, a] }))],
  ['tokens.json', 'with a lost master', (path) => edited(path, (content) => ({ ...content, master: 'x' }))],
  ['tokens.json', 'with a null token', (path) => edited(path, (content) => ({ ...content, tokens: [null] }))],
  ['tokens.json', 'with a bad hash', withToken({ hash: 'abc' })],
  ['tokens.json', 'with negative credits', withToken({ creditedMicros: -1 })],
  ['tokens.json', 'with half a micro-credit', withToken({ creditedMicros: 0.5 })],
  ['tokens.json', 'with credits as text', withToken({ creditedMicros: '5' })],
  ['tokens.json', 'with an unknown type', withToken({ type: 'root' })],
  ['tokens.json', 'gone', (path) => rm(path)],
  ['usage.sqlite', 'gone', (path) => rm(path)],
  ['usage.sqlite', 'empty', (path) => writeFileSync(path, '')],
  ['usage.sqlite', 'no database', (path) => writeFileSync(path, 'hello '.repeat(2000))],
  ['usage.sqlite', 'cut in half', (path) => writeFileSync(path, readFileSync(path).subarray(0, 8192))],
  ['usage.sqlite', 'of another store', sql(`UPDATE meta SET value = 'x' WHERE key = 'storeId'`)],
  ['usage.sqlite', 'of a later version', sql(`UPDATE meta SET value = '2' WHERE key = 'version'`)],
  ['usage.sqlite', 'without accounts', sql('DROP TABLE accounts')],
  ['usage.sqlite', 'with a negative charge', sql('UPDATE accounts SET charged_micros = -1')],
  ['usage.sqlite', 'with more charged than credited', sql('UPDATE accounts SET charged_micros = 5000')],
]

t.test('a damaged or vanished file is an error that names it, never an empty database', async (test) => {
  const whole = await folder(test)
  const store = await openIn(test, whole)
  const { id } = await store.mint(newToken(1000))
  await store.settle((await store.hold(askOf(id, 10)))?.id ?? 0, usageOf(id, 10))
  await store.close()
  for (const [name, what, damage] of DAMAGES) {
    const dbDir = join(whole, what.replaceAll(' ', '-') + name)
    mkdirSync(dbDir)
    for (const file of ['tokens.json', 'usage.sqlite']) cpSync(join(whole, file), join(dbDir, file))
    await damage(join(dbDir, name))
    const error = await openStores({ dbDir }).then(
      (opened) => opened.close(),
      (cause: unknown) => cause,
    )
    test.ok(error instanceof StoreError && error.reason === 'damaged', `${name} ${what}`)
    test.match(error, { message: /(tokens\.json|usage\.sqlite).*restore .*backup/ }, `${name} ${what}`)
    // Refused again: the first refusal has repaired nothing by making it empty.
    await test.rejects(openStores({ dbDir }), StoreError, `${name} ${what}, again`)
  }
})

t.test('a folder that cannot be used is an error that names it', async (test) => {
  const dbDir = await folder(test)
  appendFileSync(join(dbDir, 'file'), '')
  await test.rejects(openStores({ dbDir: join(dbDir, 'file', 'db') }), {
    reason: 'unusable',
    message: /DB_DIR/,
  })
  writeFileSync(join(dbDir, 'lock.sqlite'), 'hello '.repeat(2000))
  await test.rejects(openStores({ dbDir }), { reason: 'unusable', message: /lock\.sqlite/ })
})

interface Model {
  credited: Map<string, number>
  holds: { id: number; tokenId: string }[]
}

const pick = <T>(list: readonly T[], seed: number): T | undefined => list[seed % list.length]
const OPERATIONS = ['mint', 'hold', 'hold', 'hold', 'settle', 'settle', 'mark', 'crash', 'reopen'] as const

async function checkBooks(store: TokenStore, { credited }: Model): Promise<void> {
  for (const [id, micros] of credited) {
    const { creditedMicros, balanceMicros, heldMicros, chargedMicros } = await store.credits(id)
    const isWhole = creditedMicros === micros && micros === balanceMicros + heldMicros + chargedMicros
    if (!isWhole || Math.min(balanceMicros, heldMicros, chargedMicros) < 0)
      throw new Error(`${creditedMicros} <> ${balanceMicros} + ${heldMicros} + ${chargedMicros}`)
  }
}

t.test(
  'whatever happens in whatever order: credited = balance + held + charged, none negative',
  async (test) => {
    const root = await folder(test)
    const step = fc.record({
      operation: fc.constantFrom(...OPERATIONS),
      seed: fc.nat(1000),
      micros: fc.nat(400),
    })
    const run = async (steps: { operation: string; seed: number; micros: number }[]) => {
      let dbDir = join(root, randomUUID())
      let store = (await openStores({ dbDir })).tokens
      const model: Model = { credited: new Map(), holds: [] }
      try {
        for (const { operation, seed, micros } of steps) {
          const tokenId = pick([...model.credited.keys()], seed)
          const hold = pick(model.holds, seed)
          if (operation === 'mint') model.credited.set((await store.mint(newToken(micros))).id, micros)
          if (operation === 'hold' && tokenId !== undefined) {
            const made = await store.hold({ ...askOf(tokenId, micros), leastMicros: seed % 50 })
            if (made !== undefined) model.holds.push(made)
          }
          if (operation === 'mark' && hold !== undefined)
            store.markAnswered(hold.id, micros, usageOf(hold.tokenId, micros))
          // An ended hold stays in the list: some are settled twice.
          if (operation === 'settle' && hold !== undefined)
            await store.settle(hold.id, usageOf(hold.tokenId, micros))
          if (operation === 'crash' || operation === 'reopen') {
            const to = operation === 'crash' ? crashedCopy(dbDir, join(root, randomUUID())) : dbDir
            await store.close()
            dbDir = to
            store = (await openStores({ dbDir })).tokens
            model.holds = []
          }
          await checkBooks(store, model)
        }
      } finally {
        await store.close()
        await rm(dbDir, { recursive: true })
      }
    }
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), run), { numRuns: 60 })
    test.pass('60 random histories')
  },
)

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
