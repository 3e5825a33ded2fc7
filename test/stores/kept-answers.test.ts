import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { type KeyLimits, SMALL_ANSWER_BYTES } from '../../src/stores/contracts/idempotency.ts'
import { openStores } from '../../src/stores/open.ts'
import { answerOf, answerUnder, givenAgain, keptAnswersContract, keyedOf } from '../contract/kept-answers.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { waitUntil } from '../support/journey.ts'
import { crashedCopy, folder, type Owner } from './folders.ts'

const openIn = async (test: Owner, dbDir: string, limits: Partial<KeyLimits> = {}) => {
  const stores = await openStores({ dbDir, ...limits })
  test.teardown(() => stores.close())
  return stores
}

const open = async (test: Owner, limits: Partial<KeyLimits>) => {
  const dbDir = await folder(test)
  const stores = await openIn(test, dbDir, limits)
  const reopen = async () => {
    await stores.close()
    return openIn(test, dbDir, limits)
  }
  return { ...stores, reopen, crash: () => openIn(test, crashedCopy(dbDir, join(dbDir, 'crashed')), limits) }
}

const LARGE = SMALL_ANSWER_BYTES + 1
keptAnswersContract('file, small', { bodyBytes: 1_000, open })
keptAnswersContract('file, large', { bodyBytes: LARGE, open })

const filesIn = (dbDir: string) =>
  readdirSync(join(dbDir, 'answers')).map((name) => join(dbDir, 'answers', name))
const bytesIn = (dbDir: string) => filesIn(dbDir).reduce((sum, path) => sum + statSync(path).size, 0)

t.test('an answer that is kept outlives a kill right after it', async (test) => {
  const dbDir = await folder(test)
  const { idempotency } = await openIn(test, dbDir)
  for (const [index, bytes] of [100, LARGE].entries()) {
    const [request, answer] = [keyedOf('tok_1'), answerOf(bytes)]
    const claim = await idempotency.claim(request)
    await idempotency.finish(claim.state === 'claimed' ? claim.id : '', answer)
    const copy = crashedCopy(dbDir, join(dbDir, `crashed-${index}`))
    const after = await openIn(test, copy)
    test.same(await givenAgain(after.idempotency, request), answer)
  }
})

t.test('large answers are files that only the owner may read, and never given in part', async (test) => {
  const dbDir = await folder(test)
  const { idempotency, close } = await openIn(test, dbDir)
  const [cut, gone, kept] = [keyedOf('tok_1'), keyedOf('tok_1'), keyedOf('tok_1')]
  const answer = answerOf(LARGE)
  await answerUnder(idempotency, cut, answer)
  const [first = ''] = filesIn(dbDir)
  test.equal(statSync(join(dbDir, 'answers')).mode & 0o777, 0o700)
  test.equal(statSync(first).mode & 0o777, 0o600)
  truncateSync(first, LARGE - 1)
  test.equal(await givenAgain(idempotency, cut), undefined, 'a part of it is not the answer')
  writeFileSync(first, Buffer.alloc(LARGE))
  test.equal(await givenAgain(idempotency, cut), undefined, 'as much as of it is not the answer either')
  await answerUnder(idempotency, gone, answer)
  const second = filesIn(dbDir).find((path) => path !== first) ?? ''
  await answerUnder(idempotency, kept, answer)
  await close()
  const left = join(dbDir, 'answers', randomUUID())
  writeFileSync(left, 'what a crash has left')
  writeFileSync(join(dbDir, 'answers', 'note'), "somebody else's")
  truncateSync(second, 0)
  const { idempotency: after } = await openIn(test, dbDir)
  test.notOk(filesIn(dbDir).includes(left), 'files that nobody knows are removed')
  test.ok(filesIn(dbDir).includes(join(dbDir, 'answers', 'note')))
  test.equal(await givenAgain(after, gone), undefined)
  test.same((await givenAgain(after, kept))?.body, answer.body)
})

t.test(
  'five hundred large answers of one token take the disk that it may have, and no more',
  async (test) => {
    const dbDir = await folder(test)
    const answerBytesPerToken = 4 * 1024 * 1024
    const { idempotency } = await openIn(test, dbDir, { answerBytesPerToken })
    const other = keyedOf('tok_other')
    const answer = answerOf(300_000)
    await answerUnder(idempotency, other, answer)
    for (let index = 0; index < 500; index++) await answerUnder(idempotency, keyedOf('tok_many'), answer)
    await waitUntil(
      () => bytesIn(dbDir),
      (bytes) => bytes <= answerBytesPerToken + answer.body.length,
    )
    test.ok(statSync(join(dbDir, 'usage.sqlite')).size < 4 * 1024 * 1024, 'nor do they stand in the database')
    test.same((await givenAgain(idempotency, other))?.body, answer.body)
  },
)

t.test(
  'an answer of yesterday gives its disk back, also when nobody asks for its key again',
  async (test) => {
    const dbDir = await folder(test)
    const { idempotency, close } = await openIn(test, dbDir)
    const yesterday = Date.now() - 25 * 3_600_000
    for (let index = 0; index < 3; index++)
      await answerUnder(idempotency, keyedOf('tok_1', { at: yesterday }), answerOf(LARGE))
    await answerUnder(idempotency, keyedOf('tok_1'), answerOf(LARGE))
    await close()
    await openIn(test, dbDir)
    await waitUntil(
      () => filesIn(dbDir).length,
      (count) => count === 1,
    )
  },
)

t.test(
  'keys of before are taken over: small answers come again, and no key stands in the files any more',
  async (test) => {
    const dbDir = await folder(test)
    const { tokens, close } = await openIn(test, dbDir)
    const { id: tokenId } = await tokens.mint(newToken(1000))
    const hold = await tokens.hold({
      accounts: [tokenId],
      requestId: 'req_charged',
      micros: 10,
      leastMicros: 10,
    })
    await tokens.settle(hold?.id ?? 0, { ...usageOf(tokenId, 10), requestId: 'req_charged' })
    await close()
    const secret = `a-key-that-is-a-secret-${randomUUID()}`
    const names = ['small', 'large', 'stream', 'charged', 'cut'].map((name) => `${secret}-${name}`)
    const [small, large, stream, charged, cut] = names.map((key) =>
      keyedOf(tokenId, { key, at: Date.now() - 1000 }),
    )
    if (!small || !large || !stream || !charged || !cut) throw new Error('no keys')
    charged.requestId = 'req_charged'
    writeOldKeys(dbDir, [
      { ask: small, isOver: 1, body: Buffer.from('{"small":1}') },
      { ask: large, isOver: 1, body: Buffer.alloc(900_000, 'x') },
      { ask: stream, isOver: 1, body: null },
      { ask: { ...charged, at: 0 }, isOver: 0, body: null },
      { ask: cut, isOver: 0, body: null },
    ])
    const before = readFileSync(join(dbDir, 'usage.sqlite'))
    test.ok(before.includes(secret), 'there they stood')
    const { idempotency } = await openIn(test, dbDir)
    test.equal((await givenAgain(idempotency, small))?.body.toString(), '{"small":1}')
    test.equal(await givenAgain(idempotency, large), undefined)
    test.equal(await givenAgain(idempotency, stream), undefined)
    test.ok(
      await idempotency.isKnown({ ...small, bodyBytes: 10_000_000 }),
      'how long its body was is not said',
    )
    test.match(await idempotency.claim(cut), { state: 'claimed' })
    await idempotency.claim(keyedOf(tokenId, { key: `${secret}-new` }))
    for (const name of readdirSync(dbDir)) {
      const path = join(dbDir, name)
      if (statSync(path).isFile()) test.notOk(readFileSync(path).includes(secret), `${name} holds no key`)
    }
    test.ok(statSync(join(dbDir, 'usage.sqlite')).size < before.length - 800_000, 'their disk is given back')
  },
)

interface OldKey {
  ask: ReturnType<typeof keyedOf>
  isOver: 0 | 1
  body: Buffer | null
}

/** As the first gateways with keys have written them. */
function writeOldKeys(dbDir: string, rows: readonly OldKey[]): void {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  db.exec(`CREATE TABLE keys (
    token_id TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, request_id TEXT NOT NULL, at INTEGER NOT NULL,
    is_over INTEGER NOT NULL, status INTEGER, headers TEXT, body BLOB, PRIMARY KEY (token_id, key)) STRICT;
    CREATE INDEX keys_by_age ON keys (at)`)
  const insert = db.prepare('INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
  for (const { ask, isOver, body } of rows) {
    const head = body ? [200, '{"content-type":"application/json"}'] : [null, null]
    const [status = null, headers = null] = head
    insert.run(ask.tokenId, ask.key, ask.fingerprint, ask.requestId, ask.at, isOver, status, headers, body)
  }
  db.close()
}
