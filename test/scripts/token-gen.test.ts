import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttp } from 'node:http'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import {
  readAddresses,
  readCredits,
  readExpiry,
  readLimit,
  readModels,
  readName,
} from '../../scripts/token-gen/flags.ts'
import { openAdminDoor } from '../../src/admin/door.ts'
import { hashSecret } from '../../src/auth/client.ts'
import { openStores } from '../../src/stores/open.ts'
import { usageOf } from '../contract/token-store.ts'

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'token-gen.js')
const SECRET = /^gw-[A-Za-z0-9_-]{43}\n$/

type Owner = { teardown(close: () => unknown): unknown }

async function folder(test: Owner): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gateway-token-gen-'))
  test.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

interface Result {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the command; from a foreign folder, as a user may. */
async function run(dbDir: string, args: string[], node = process.execPath, script = SCRIPT): Promise<Result> {
  const env = { PATH: process.env.PATH ?? '', DB_DIR: dbDir }
  const child = spawn(node, [script, ...args], { cwd: tmpdir(), env, stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    stdout += piece
  })
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

const FIRST = ['--type', 'user', '--userName', 'testuser', '--token', '10000']

/** A running server's store and door. */
async function openServer(test: Owner, dbDir: string) {
  const { tokens } = await openStores({ dbDir })
  const door = await openAdminDoor({ tokens, dbDir, logger: Fastify().log })
  test.teardown(async () => {
    await door.close()
    await tokens.close()
  })
  return tokens
}

t.test('a token made before the first start is known to the server', async (test) => {
  const dbDir = join(await folder(test), 'new')
  const made = await run(dbDir, FIRST)
  test.equal(made.code, 0, made.stderr)
  test.match(made.stdout, SECRET)
  test.notOk(made.stderr.includes(made.stdout.trim()), 'the secret is shown once')
  const tokens = await openServer(test, dbDir)
  const token = await tokens.find(hashSecret(made.stdout.trim()))
  test.match(token, { user: 'testuser', type: 'user', models: [], prefix: made.stdout.slice(0, 7) })
  test.equal((await tokens.credits(token?.id ?? '')).balanceMicros, 10_000_000_000)
})

t.test('beside the running server tokens are made, listed and revoked through it', async (test) => {
  const dbDir = await folder(test)
  const tokens = await openServer(test, dbDir)
  const wish = ['--userName', 'bob', '--token', '0.000001', '--name', 'ci', '--models', 'gpt-4o, gpt-*']
  const made = await run(dbDir, [...wish, '--expires', '30d', '--perMinute', '7', '--perDay', '9', '--json'])
  test.equal(made.code, 0, made.stderr)
  const { secret, ...shown } = JSON.parse(made.stdout)
  const token = await tokens.find(hashSecret(secret))
  test.match(shown, { id: token?.id, user: 'bob', name: 'ci', credits: { credited: 0.000001 } })
  test.match(token, { models: ['gpt-4o', 'gpt-*'], requestsPerMinute: 7, requestsPerDay: 9 })
  test.ok(Math.abs((token?.expiresAt ?? 0) - Date.now() - 30 * 86_400_000) < 60_000)
  test.match(await run(dbDir, ['--type', 'admin']), { code: 0, stdout: SECRET })
  const taken = await run(dbDir, wish)
  test.match(taken, { code: 1, stdout: '', stderr: /^token-gen: .*bob.* has a token named "ci" already\n$/ })
  const [table, json] = [await run(dbDir, ['--list']), await run(dbDir, ['--list', '--json'])]
  test.match(table.stdout, /bob +ci +0\.000001 +0\.000001 .*valid\n.*admin +admin +- +1000000000/)
  test.match(JSON.parse(json.stdout), [{ user: 'bob' }, { type: 'admin' }])
  for (const { stdout } of [table, json]) test.notMatch(stdout, new RegExp(`${secret}|${token?.hash}|"hash"`))
  test.match(await run(dbDir, ['--revoke', token?.id ?? '']), { code: 0 })
  test.type((await tokens.find(hashSecret(secret)))?.revokedAt, 'number')
  test.match(await run(dbDir, ['--revoke', 'nobody']), { code: 1, stderr: /no token with the id "nobody"/ })
})

const CREDITS = ['--type', 'user', '--userName', 'testuser']

t.test('balances are topped up and debited, beside the server and without one', async (test) => {
  const dbDir = await folder(test)
  const made = await run(dbDir, FIRST)
  test.match(await run(dbDir, [...CREDITS, '--add', '5000']), { code: 0, stdout: '15000\n' })
  const tokens = await openServer(test, dbDir)
  const id = (await tokens.find(hashSecret(made.stdout.trim())))?.id ?? ''
  test.match(await run(dbDir, [...CREDITS, '--add', '-200']), { code: 0, stdout: '14800\n' })
  test.match(await run(dbDir, ['--id', id, '--debit', '200.5', '--json']), {
    code: 0,
    stdout: /"credits":\{"credited":14599.5,"balance":14599.5,/,
  })
  const once = ['--id', id, '--add', '1', '--operation', 'order-7']
  for (const _ of [1, 2]) test.match(await run(dbDir, once), { code: 0, stdout: '14600.5\n' })
  const other = await run(dbDir, [...once.with(3, '2')])
  test.match(other, { code: 1, stdout: '', stderr: /used for another change/ })
  const broke = await run(dbDir, ['--id', id, '--debit', '14600.500001'])
  test.match(broke, { code: 1, stdout: '', stderr: /has 14600\.5 credits free/ })
  test.match(await tokens.credits(id), { creditedMicros: 14_600_500_000, balanceMicros: 14_600_500_000 })
  await run(dbDir, [...FIRST, '--name', 'second'])
  const unclear = await run(dbDir, [...CREDITS, '--add', '5'])
  test.match(unclear, {
    code: 1,
    stdout: '',
    stderr: /There are 2 tokens.*--id or --name.*tok_.*tok_.*\(second\)/,
  })
  test.match(await run(dbDir, [...CREDITS, '--name', 'second', '--add', '5']), { code: 0, stdout: '10005\n' })
  const nobody = await run(dbDir, ['--userName', 'nobody', '--add', '5'])
  test.match(nobody, { code: 1, stderr: /There is no valid token of "nobody"/ })
  test.match(await run(dbDir, ['--id', 'tok_x', '--add', '5']), { code: 1, stderr: /no token with the id/ })
})

t.test('secrets are rotated, tokens turned off and on, and the list shows it', async (test) => {
  const dbDir = await folder(test)
  const limits = ['--inFlight', '3', '--addresses', '10.0.0.0/8, 2001:db8::/32']
  const services = ['--services', 'users, /api/orders']
  const made = await run(dbDir, [...FIRST, ...limits, ...services])
  const [{ id }] = JSON.parse((await run(dbDir, ['--list', '--json'])).stdout)
  const tokens = await openServer(test, dbDir)
  const next = await run(dbDir, ['--rotate', id, '--overlap', '24h'])
  test.match(next, { code: 0, stdout: SECRET, stderr: /the old one is valid for another 24h/ })
  const rotated = await tokens.find(hashSecret(made.stdout.trim()))
  test.match(rotated, { id, hash: hashSecret(next.stdout.trim()), requestsInFlight: 3 })
  const left = (rotated?.previous?.[0]?.until ?? 0) - Date.now()
  test.ok(left > 86_000_000 && left <= 86_400_000, `${left} ms`)
  test.match(await run(dbDir, ['--disable', id]), { code: 0, stdout: `${id}\n`, stderr: /is now disabled/ })
  test.type((await tokens.find(hashSecret(next.stdout.trim())))?.disabledAt, 'number')
  const listed = await run(dbDir, ['--list'])
  test.match(
    listed.stdout,
    /testuser +- +10000 +10000 +\S+Z +- +- +3 +10\.0\.0\.0\/8,2001:db8::\/32 +users,\/api\/orders +disabled/,
  )
  test.match(JSON.parse((await run(dbDir, ['--list', '--json'])).stdout), [
    {
      id,
      requestsInFlight: 3,
      addresses: ['10.0.0.0/8', '2001:db8::/32'],
      services: ['users', '/api/orders'],
      disabledAt: String,
      previousUntil: String,
    },
  ])
  test.match(await run(dbDir, ['--enable', id]), { code: 0, stderr: /is now enabled/ })
  const last = await run(dbDir, ['--rotate', id])
  test.match(last, { code: 0, stdout: SECRET, stderr: /no longer valid/ })
  for (const { stdout } of [made, next]) test.equal(await tokens.find(hashSecret(stdout.trim())), undefined)
  test.match(await tokens.find(hashSecret(last.stdout.trim())), { id, disabledAt: undefined })
})

const MISUSES: readonly (readonly string[])[] = [
  ['--nope'],
  ['--userName', 'x'],
  ['--token', '5'],
  [...FIRST, '--type', 'root'],
  [...FIRST, '--services', 'users,'],
  [...FIRST, '--services', '/api/*'],
  [...FIRST, '--services', 'a b'],
  ['--userName', 'x', '--token', '-5'],
  ['--userName', 'a\nb', '--token', '5'],
  [...FIRST, '--expires', '2020-01-01'],
  ['--list', '--token', '5'],
  ['--add', '5'],
  ['--userName', 'x', '--add', '0'],
  ['--userName', 'x', '--add', '--5'],
  ['--userName', 'x', '--debit', '-5'],
  ['--userName', 'x', '--add', '5', '--debit', '5'],
  ['--userName', 'x', '--add', '5', '--token', '5'],
  ['--userName', 'x', '--add', '5', '--operation', 'a b'],
  ['--rotate', 'x', '--overlap', 'soon'],
  [...FIRST, '--overlap', '1h'],
  [...FIRST, '--addresses', '10.0.0.0/33'],
  [...FIRST, '--addresses', 'localhost'],
  [...FIRST, '--inFlight', '0'],
  ['--disable', 'x', '--enable', 'x'],
]

t.test('a misused command says so in one line, exits with 2 and makes nothing', async (test) => {
  const dbDir = join(await folder(test), 'never')
  for (const args of MISUSES) {
    const { code, stdout, stderr } = await run(dbDir, [...args])
    test.same({ code, stdout }, { code: 2, stdout: '' }, JSON.stringify(args))
    test.match(stderr, /^token-gen: [\P{Cc}]+\n$/u, JSON.stringify(args))
  }
  test.notOk(existsSync(dbDir))
  const help = await run(dbDir, ['--help'])
  test.match(help, { code: 0, stdout: /--userName <name>/, stderr: '' })
})

t.test('amounts, names, dates, models and limits are taken as written or refused', async (test) => {
  const now = Date.UTC(2026, 0, 1)
  test.equal(readCredits('9000000000.000000'), 9e15)
  test.equal(readCredits('0.000001'), 1)
  test.equal(readExpiry('12h', now), now + 43_200_000)
  test.equal(readExpiry('2028-02-29', now), Date.UTC(2028, 2, 1) - 1, 'a day alone is good until it is over')
  test.equal(readExpiry('2026-01-01', now), Date.UTC(2026, 0, 2) - 1, 'today, too')
  test.equal(readExpiry('2027-01-01T10:00', now), Date.UTC(2027, 0, 1, 10))
  test.equal(readExpiry('2027-01-01T10:00+02:00', now), Date.UTC(2027, 0, 1, 8))
  test.equal(readName('--name', 'é'.repeat(64)).length, 64)
  for (const text of [
    '',
    ' 5',
    '-5',
    '+5',
    'NaN',
    'Infinity',
    '1e9',
    '0x10',
    '1.0000001',
    '9000000000.000001',
    '9'.repeat(20),
  ])
    test.throws(() => readCredits(text), { message: /^--/ }, text)
  for (const text of ['', '   ', 'x'.repeat(65), 'a\nb', 'a\u001b[31m', 'a\u0000', 'a\ud800', 'a\u2028'])
    test.throws(() => readName('--name', text), { message: /^--/ })
  test.throws(() => readName('--name', 'ann\u202egnp'), {
    message: '--name must not hold U+202E, which turns the direction of a text',
  })
  test.throws(() => readModels('gpt\ufeff-4o,m'), { message: /^--models .*U\+FEFF/ })
  test.equal(readName('--name', '\u00a0 Jose\u0301 \u3000 A. '), 'Jos\u00e9 A.')
  for (const text of [
    '',
    '0d',
    '2027-02-30',
    '2027-13-01',
    'soon',
    '5',
    '-3d',
    '999999999d',
    '2025-12-31',
    '2027-01-01T25:00',
  ])
    test.throws(() => readExpiry(text, now), { message: /^--/ }, text)
  for (const text of ['', 'a,,b', 'a\nb', 'x'.repeat(129), Array(101).fill('m').join()])
    test.throws(() => readModels(text), { message: /^--/ }, text)
  test.same(readAddresses('10.0.0.1, ::1,fd00::/8'), ['10.0.0.1', '::1', 'fd00::/8'])
  for (const text of [
    '',
    'a',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '1.2.3.4/8/8',
    'fe80::1%eth0',
    '10.0.0/8',
  ])
    test.throws(() => readAddresses(text), { message: /^--/ }, text)
  for (const text of ['0', '-1', '1.5', '', '1000000001'])
    test.throws(() => readLimit('--perDay', text), { message: /^--/ }, text)
})

const listen = async (test: Owner, server: Server, path: string) => {
  server.listen(path)
  await once(server, 'listening')
  test.teardown(() => server.close())
}

t.test('a foreign server behind the socket is told apart, and nothing is made', async (test) => {
  const [http, raw] = [await folder(test), await folder(test)]
  const foreign = createHttp((_request, reply) => reply.end('{}'))
  await listen(test, foreign, join(http, 'gateway.sock'))
  const echo = createServer((socket) => socket.on('error', () => undefined).end('hello\r\n\r\n'))
  await listen(test, echo, join(raw, 'gateway.sock'))
  for (const dbDir of [http, raw]) {
    const made = await run(dbDir, FIRST)
    test.match(made, { code: 1, stdout: '', stderr: /^token-gen: .*no gateway of this kind.*\n$/ })
    test.notOk(existsSync(join(dbDir, 'tokens.json')))
  }
})

t.test('a store that cannot be used is one line and exit 1', async (test) => {
  const dbDir = await folder(test)
  writeFileSync(join(dbDir, 'tokens.json'), 'null')
  test.match(await run(dbDir, FIRST), {
    code: 1,
    stdout: '',
    stderr: /^token-gen: .*tokens\.json.*backup\n$/,
  })
  const { tokens } = await openStores({ dbDir: join(dbDir, 'taken') })
  test.teardown(() => tokens.close())
  const started = performance.now()
  const { code, stderr } = await run(join(dbDir, 'taken'), FIRST)
  test.match({ code, stderr }, { code: 1, stderr: /does not answer on gateway\.sock/ })
  test.ok(performance.now() - started > 4000, 'a server that is just starting gets its time')
})

/** The first Node of the PATH that cannot run the sources itself. */
const olderNode = (): string | undefined => {
  const probe = 'process.exit(process.features.typescript ? 1 : 0)'
  const paths = (process.env.PATH ?? '').split(':').map((path) => join(path, 'node'))
  return paths.find((path) => existsSync(path) && spawnSync(path, ['-e', probe]).status === 0)
}

t.test('a user is found by a name that is written in another way', async (test) => {
  const dbDir = await folder(test)
  const made = ['--userName', ' Jose\u0301  A', '--token', '10', '--json']
  test.match(JSON.parse((await run(dbDir, made)).stdout), { user: 'Jos\u00e9 A' })
  const topUp = await run(dbDir, ['--userName', 'Jose\u0301\u00a0A', '--add', '5'])
  test.match(topUp, { code: 0, stdout: '15\n' })
  const unseen = await run(dbDir, ['--userName', 'ann\u200d', '--token', '1'])
  test.match(unseen, {
    code: 2,
    stdout: '',
    stderr: /--userName must not hold U\+200D, which cannot be seen/,
  })
})

t.test('the command works under an older Node by the one that came with npm ci', async (test) => {
  const older = olderNode()
  if (older === undefined) return test.comment('left out: no Node on the PATH is old enough')
  const dbDir = await folder(test)
  test.match(await run(dbDir, FIRST, older), { code: 0, stdout: SECRET })
  test.match(await run(dbDir, ['--token', '-5', '--userName', 'x'], older), { code: 2, stdout: '' })
  const alone = await folder(test)
  for (const path of ['scripts/token-gen.js', 'scripts/our-node.js', 'src/our-node.js'])
    cpSync(join(SCRIPT, '..', '..', path), join(alone, path))
  writeFileSync(join(alone, 'package.json'), '{"type":"module"}')
  const lost = await run(dbDir, FIRST, older, join(alone, 'scripts', 'token-gen.js'))
  test.match(lost, { code: 1, stdout: '', stderr: /^This needs Node 24\.12 or later .*npm ci.*\n$/ })
})

t.test(
  'the list tells when each token was made, ends and was used last, and a new one how long it is good',
  async (test) => {
    const dbDir = await folder(test)
    const made = await run(dbDir, [...FIRST, '--expires', '2031-12-31'])
    test.match(made.stderr, /shown this once; valid until 2031-12-31T23:59:59Z:\n$/)
    const tokens = await openServer(test, dbDir)
    const { id = '' } = (await tokens.find(hashSecret(made.stdout.trim()))) ?? {}
    const hold = await tokens.hold({ accounts: [id], requestId: 'one', micros: 5, leastMicros: 5 })
    await tokens.settle(hold?.id ?? 0, { ...usageOf(id, 5), at: Date.UTC(2026, 5, 1, 12, 30, 15, 77) })
    const { stdout } = await run(dbDir, ['--list'])
    test.match(stdout, /^ID +PREFIX +TYPE +USER +NAME +BALANCE +CREDITED +CREATED +EXPIRES +LAST_USED /)
    test.match(stdout, / 20\S+T\S+Z +2031-12-31T23:59:59Z +2026-06-01T12:30:15Z .* valid$/m)
    const [listed] = JSON.parse((await run(dbDir, ['--list', '--json'])).stdout)
    test.match(listed, { expiresAt: '2031-12-31T23:59:59.999Z', lastUsedAt: '2026-06-01T12:30:15.077Z' })
  },
)

t.test('where no store was, it says where one is made: the server may have another folder', async (test) => {
  const dbDir = await folder(test)
  const first = await run(dbDir, FIRST)
  test.match(first.stdout, SECRET)
  test.match(first.stderr, `No store was in "${dbDir}", one is made`)
  test.notMatch((await run(dbDir, FIRST)).stderr, /No store was/)
})
