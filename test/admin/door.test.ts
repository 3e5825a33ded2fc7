import { linkSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import Fastify, { type FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { openAdminDoor } from '../../src/admin/door.ts'
import { openDoorPath } from '../../src/admin/door-path.ts'
import { openStores } from '../../src/stores/open.ts'
import { ask, newToken, usageOf } from '../contract/token-store.ts'

type Owner = { teardown(close: () => unknown): unknown }

/** Fastify's own logger, and what it wrote. */
function listeningLogger(): { logger: FastifyBaseLogger; lines: string[] } {
  const lines: string[] = []
  const stream = { write: (line: string) => lines.push(line) }
  return { logger: Fastify({ logger: { stream } }).log, lines }
}

async function folder(test: Owner): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gateway-door-'))
  test.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

async function openDoor(test: Owner, dbDir: string) {
  const { tokens } = await openStores({ dbDir })
  const { logger, lines } = listeningLogger()
  const door = await openAdminDoor({ tokens, dbDir, logger })
  const close = async () => {
    await door.close()
    await tokens.close()
  }
  test.teardown(close)
  return { tokens, lines, close }
}

interface Answer {
  status: number
  isDoor: boolean
  raw: string
  body: Record<string, unknown>
}

function call(dbDir: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const door = openDoorPath(dbDir)
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const headers = body === undefined ? {} : { 'content-type': 'application/json' }
  request({ socketPath: door?.path ?? '', method, path, headers }, async (answer) => {
    const raw = await text(answer)
    const isDoor = answer.headers['x-gateway-door'] === '1'
    resolve({ status: answer.statusCode ?? 0, isDoor, raw, body: JSON.parse(raw) })
  })
    .on('error', reject)
    .end(body === undefined ? undefined : JSON.stringify(body))
  return promise.finally(() => door?.release())
}

t.test('an operator mints, sees and revokes tokens, and is never shown a hash', async (test) => {
  const dbDir = await folder(test)
  const { tokens } = await openDoor(test, dbDir)
  test.equal(statSync(join(dbDir, 'gateway.sock')).mode & 0o777, 0o600)
  const wish = newToken(2_500_000, { name: 'ci', models: ['gpt-*'], requestsPerMinute: 5 })
  const minted = await call(dbDir, 'POST', '/tokens', wish)
  test.match(minted, { status: 201, isDoor: true, body: { user: 'ann', prefix: wish.prefix, name: 'ci' } })
  const found = await tokens.find(wish.hash)
  test.match(found, { models: ['gpt-*'], requestsPerMinute: 5 })
  const listed = await call(dbDir, 'GET', '/tokens')
  test.match(listed.body.tokens, [
    { id: found?.id, credits: { creditedMicros: 2_500_000, balanceMicros: 2_500_000 } },
  ])
  const revoked = await call(dbDir, 'DELETE', `/tokens/${found?.id}`)
  test.match(revoked, { status: 200, body: { id: found?.id, revokedAt: Number } })
  for (const { raw } of [minted, listed, revoked]) {
    test.notOk(raw.includes(wish.hash))
    test.notMatch(raw, /"(hash|creditedMicros":2500000,"prefix)"/)
  }
})

const WRONG: readonly (readonly [string, object])[] = [
  ['an unknown field', { isMaster: true }],
  ['a secret', { secret: 'gw-abc' }],
  ['a hash that is none', { hash: 'abc' }],
  ['a wrong type', { type: 'root' }],
  ['no user', { user: '' }],
  ['a blank user', { user: '   ' }],
  ['a user of many lines', { user: 'a\r\nb' }],
  ['NUL in the name', { name: 'a\0' }],
  ['a C1 control character', { name: 'a\u009b31m' }],
  ['a direction that is turned', { user: 'ann\u202egnp' }],
  ['a name with what nobody sees', { name: 'ann\u200b' }],
  ['half a letter', { name: 'a\ud800' }],
  ['a long name', { name: 'x'.repeat(65) }],
  ['negative credits', { creditedMicros: -1 }],
  ['a fraction of a micro-credit', { creditedMicros: 0.5 }],
  ['more than can be counted', { creditedMicros: 2 ** 53 }],
  ['credits as text', { creditedMicros: '5' }],
  ['models that are no list', { models: 'gpt-4o' }],
  ['101 models', { models: Array(101).fill('m') }],
  ['a limit of nothing', { requestsPerMinute: 0 }],
  ['a body of 100 kB', { name: 'x'.repeat(100_000) }],
]

t.test('whatever is wrong with a wish is refused, and nothing is made', async (test) => {
  const dbDir = await folder(test)
  const { tokens, lines } = await openDoor(test, dbDir)
  for (const [what, wrong] of WRONG) {
    const { status, isDoor, body } = await call(dbDir, 'POST', '/tokens', { ...newToken(5), ...wrong })
    test.match([status >= 400 && status < 500, isDoor], [true, true], what)
    test.match(body, { error: { message: String, type: 'invalid_request_error', code: String } }, what)
  }
  const unseen = await call(dbDir, 'POST', '/tokens', newToken(5, { name: 'ann\u200b' }))
  test.match(unseen, { body: { error: { message: /name.*must not hold U\+200B, which cannot be seen/ } } })
  await call(dbDir, 'POST', '/tokens', newToken(5, { name: 'twice' }))
  const twin = await call(dbDir, 'POST', '/tokens', newToken(5, { name: 'twice' }))
  test.match(twin, { status: 409, isDoor: true, body: { error: { code: 'name_taken', param: null } } })
  test.match(await call(dbDir, 'DELETE', '/tokens/nobody'), { status: 404, isDoor: true })
  test.match(await call(dbDir, 'GET', '/other'), {
    status: 404,
    isDoor: true,
    body: { error: { code: 'not_found' } },
  })
  test.equal((await tokens.list()).length, 1)
  test.notOk(
    lines.some((line) => /[0-9a-f]{64}/.test(line)),
    'no hash in the log',
  )
})

t.test(
  'a socket left by a dead server is replaced, anything else in its place is left alone',
  async (test) => {
    const dbDir = await folder(test)
    const path = join(dbDir, 'gateway.sock')
    // A hard link keeps the socket's file in place when its server closes, as a kill -9 would.
    const server = createServer().listen(`${path}.old`)
    await new Promise((resolve) => server.once('listening', resolve))
    linkSync(`${path}.old`, path)
    await new Promise((resolve) => server.close(resolve))
    const { close } = await openDoor(test, dbDir)
    test.match(await call(dbDir, 'GET', '/tokens'), { status: 200, isDoor: true })
    await close()
    test.equal(statSync(path, { throwIfNoEntry: false }), undefined, 'a closed door leaves no socket')
    writeFileSync(path, 'mine')
    const second = await openDoor(test, dbDir)
    test.match(second.lines.join(''), /works only while the server is down/)
    test.equal(statSync(path).size, 4)
  },
)

t.test(
  'a folder with a very long path has its door too',
  { skip: process.platform !== 'linux' },
  async (test) => {
    const dbDir = join(await folder(test), 'x'.repeat(120), 'db')
    mkdirSync(dbDir, { recursive: true })
    const { close } = await openDoor(test, dbDir)
    test.match(await call(dbDir, 'GET', '/tokens'), { status: 200, isDoor: true })
    await close()
    test.equal(statSync(join(dbDir, 'gateway.sock'), { throwIfNoEntry: false }), undefined)
  },
)

t.test('while a long list is told, others are served', async (test) => {
  const dbDir = await folder(test)
  await (await openStores({ dbDir })).tokens.close()
  const path = join(dbDir, 'tokens.json')
  const file = JSON.parse(readFileSync(path, 'utf8'))
  const all = Array.from({ length: 10_000 }, (_, index) => ({
    ...newToken(1_000),
    id: `tok_${index}`,
    createdAt: index,
  }))
  writeFileSync(path, JSON.stringify({ ...file, tokens: all }))
  const { tokens } = await openDoor(test, dbDir)
  const listing = call(dbDir, 'GET', '/tokens')
  let [isOver, settled] = [false, 0]
  const over = listing.finally(() => {
    isOver = true
  })
  while (!isOver) {
    const hold = await tokens.hold(ask('tok_1', 1))
    await tokens.settle(hold?.id ?? 0, usageOf('tok_1', 0))
    settled += 1
  }
  await over
  // A list in one go lets none of them through but the first and the last.
  test.ok(settled > 50, `${settled} were settled meanwhile`)
  const { body, status } = await listing
  const told = body.tokens as { id: string }[]
  test.equal(status, 200)
  test.same(
    told.map(({ id }) => id),
    all.map(({ id }) => id),
  )
  test.notMatch(JSON.stringify(told[0]), /hash/)
})
