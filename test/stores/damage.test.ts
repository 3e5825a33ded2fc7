import { appendFileSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { StoreError } from '../../src/stores/contracts/store-error.ts'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { bareEnv, startProcess } from '../support/process.ts'
import { askOf, folder, openIn } from './folders.ts'

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

t.test('a process that could not open its store ends by itself', async (test) => {
  const dbDir = await folder(test)
  await (await openIn(test, dbDir)).close()
  // Opening fails at its last step, with everything open.
  sql(`DELETE FROM meta WHERE key = 'initialised';
    CREATE TRIGGER full BEFORE INSERT ON meta BEGIN SELECT RAISE(FAIL, 'full'); END`)(
    join(dbDir, 'usage.sqlite'),
  )
  // Longer than until the idempotency keys of yesterday are looked for.
  const text = `const { openStores } = await import(process.argv[1])
    await openStores({ dbDir: process.argv[2] }).catch(({ reason }) => console.log(reason))
    setTimeout(() => {}, 500)`
  const stores = join(import.meta.dirname, '..', '..', 'src', 'stores', 'open.ts')
  const args = ['--input-type=module', '-e', text, stores, dbDir]
  const { exited } = startProcess(test, { args, env: bareEnv(), cwd: '/' })
  const late = setTimeout(20_000, undefined, { ref: false })
  test.match(await Promise.race([exited, late]), { code: 0, stdout: 'damaged\n' })
})

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

t.test('a store that is gone as a whole is no new one, until its mark is gone too', async (test) => {
  const dbDir = await folder(test)
  const store = await openIn(test, dbDir)
  await store.mint(newToken(1000))
  await store.close()
  for (const name of readdirSync(dbDir)) if (/^(tokens|usage)/.test(name)) await rm(join(dbDir, name))
  const text =
    /tokens\.json and usage\.sqlite are gone.*restore both from the latest backup, or remove "store\.json"/
  await test.rejects(openStores({ dbDir }), { reason: 'damaged', message: text })
  await rm(join(dbDir, 'store.json'))
  test.same(await (await openIn(test, dbDir)).list(), [])
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
