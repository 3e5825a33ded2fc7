import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { bearer, get, post } from '../support/client.ts'
import type { TestGateway } from '../support/gateway.ts'
import { failGateway, mintToken, runTokenGen, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { bareEnv, systemNode } from '../support/process.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const SECRET = /gw-[A-Za-z0-9_-]{43}/g
const UNSET = { ADMIN_FIRST: '', HOST: '' }
const CHAT = { model: 'demo', messages: [{ role: 'user', content: 'hi' }] }

const modeOf = (path: string): number => statSync(path).mode & 0o777

const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))

/** The token of the first start and the command to paste, as a newcomer finds them on the terminal. */
function firstSteps({ stdout }: TestGateway): { secret: string; command: string; rest: string } {
  const [block = '', secret = '', command = ''] =
    /\nYour master token[^\n]*\n\n {2}(\S+)\n\nTry it:\n\n(curl .*?)\n\n/s.exec(stdout()) ?? []
  return { secret, command, rest: stdout().replace(block, '') }
}

async function run(program: string, args: readonly string[], env: Record<string, string>, cwd: string) {
  const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code, stdout: out, stderr: err }
}

t.test('the first start shows a token and a command that works as it stands, once', async (test) => {
  const first = await startGateway(test, { env: UNSET })
  await first.waitForLine(({ msg }) => msg === 'listening')
  const steps = await waitUntil(
    () => firstSteps(first),
    ({ command }) => command !== '',
  )
  const pasted = await run('bash', ['-c', steps.command], bareEnv(), temporaryFolder(test))
  test.equal(pasted.code, 0, pasted.stderr)
  test.match(JSON.parse(pasted.stdout), { choices: [{ message: { content: 'Hello!' } }], usage: {} })
  test.match(await get(first, '/v1/token', bearer(steps.secret)), { status: 200, text: /"type":"admin"/ })
  test.same([first.stderr(), modeOf(first.dbDir), modeOf(first.logDir)], ['', 0o700, 0o700])
  for (const line of first
    .stdout()
    .replace(/\nYour master.*?\n\n(?={|$)/s, '')
    .split('\n')
    .filter(Boolean))
    test.doesNotThrow(() => JSON.parse(line), line)
  test.equal((await first.stop()).code, 0)
  test.same(firstSteps(first).rest.match(SECRET), null, 'it stands in the block alone')
  for (const file of [...filesBelow(first.dbDir), ...filesBelow(first.logDir)])
    test.notOk(readFileSync(file).includes(steps.secret), file)
  const second = await startGateway(test, { ...first, env: UNSET })
  test.match(await post(second, '/v1/chat/completions', CHAT, bearer(steps.secret)), { status: 200 })
  const beta = await post(second, '/v1/chat/completions?beta=true', CHAT, bearer(steps.secret))
  test.match(beta, { status: 200 }, 'with a query')
  await second.stop()
  test.notMatch(second.stdout(), /gw-|master token/)
})

t.test('a first start that fails has not used up the token', async (test) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  test.teardown(() => taken.close())
  const folder = temporaryFolder(test)
  const dirs = { dbDir: join(folder, 'db'), logDir: join(folder, 'logs') }
  const { port } = taken.address() as AddressInfo
  const failed = await failGateway(test, { ...dirs, env: { ADMIN_FIRST: '', PORT: String(port) } })
  test.match(failed, { code: 1, stderr: /^[^\n]*EADDRINUSE[^\n]*PORT\n$/ })
  const gateway = await startGateway(test, { ...dirs, env: UNSET })
  const { secret } = await waitUntil(
    () => firstSteps(gateway),
    ({ command }) => command !== '',
  )
  test.match(await get(gateway, '/v1/models', bearer(secret)), { status: 200, text: /"id":"demo"/ })
})

t.test('the example of the settings is a .env that works', async (test) => {
  const cwd = temporaryFolder(test)
  copyFileSync(join(ROOT, '.env.example'), join(cwd, '.env'))
  const gateway = await startGateway(test, { cwd, env: { ...UNSET, DB_DIR: '', LOG_DIR: '' } })
  test.match(await get(gateway, '/health'), { status: 200 })
  test.same([modeOf(join(cwd, 'src/db')), modeOf(join(cwd, 'src/logs'))], [0o700, 0o700])
  test.ok(readdirSync(join(cwd, 'src/logs')).some((name) => /^server\.\d{4}-\d\d-\d\d\.1\.log$/.test(name)))
  test.equal(gateway.stderr(), '')
})

t.test('a server and the command, both started where a .env is, mean the same store', async (test) => {
  const cwd = temporaryFolder(test)
  writeFileSync(join(cwd, '.env'), 'DB_DIR=data\nLOG_DIR=logs\n')
  // An empty value counts as unset, in the environment too.
  const gateway = await startGateway(test, { cwd, env: { ...UNSET, DB_DIR: '', LOG_DIR: '' } })
  const args = [join(ROOT, 'scripts/token-gen.js'), '--userName', 'ann', '--token', '5']
  for (const env of [{ DB_DIR: '' }, { DB_DIR: 'data' }]) {
    const made = await run(systemNode(), args, { ...bareEnv(), ...env }, cwd)
    test.equal((await get(gateway, '/v1/token', bearer(made.stdout.trim()))).status, 200, made.stderr)
  }
  test.ok(existsSync(join(cwd, 'data/tokens.json')))
})

t.test('monitors may ask for the head alone', async (test) => {
  const gateway = await startGateway(test)
  const headers = { authorization: `Bearer ${await mintToken(test, gateway)}` }
  for (const path of ['/health', '/ready', '/v1/models', '/v1/models/demo', '/v1/token']) {
    const [head, whole] = [
      await fetch(gateway.url + path, { method: 'HEAD', headers }),
      await get(gateway, path, headers),
    ]
    test.match([head.status, await head.text()], [200, ''], path)
    test.equal(head.headers.get('content-length'), whole.headers['content-length'], path)
  }
  test.equal((await fetch(`${gateway.url}/v1/models`, { method: 'HEAD' })).status, 401)
  test.equal((await fetch(`${gateway.url}/v1/chat/completions`, { method: 'HEAD', headers })).status, 404)
})

t.test('a token made before the first start, by the system’s Node, works in it', async (test) => {
  const dbDir = join(temporaryFolder(test), 'new', 'db')
  const args = [
    join(ROOT, 'scripts/token-gen.js'),
    '--type',
    'user',
    '--userName',
    'testuser',
    '--token',
    '10000',
  ]
  const env = { ...bareEnv(), DB_DIR: dbDir }
  const made = await run(systemNode(), args, env, temporaryFolder(test))
  test.match(made, { code: 0, stdout: /^gw-[\w-]{43}\n$/ })
  test.equal(modeOf(dbDir), 0o700)
  const gateway = await startGateway(test, { dbDir })
  const headers = bearer(made.stdout.trim())
  test.match(await post(gateway, '/v1/chat/completions', CHAT, headers), { status: 200 })
  test.match((await get(gateway, '/v1/token', headers)).json(), {
    user: 'testuser',
    credits: { credited: 10_000 },
  })
  const beside = await run(systemNode(), args, env, temporaryFolder(test))
  test.equal(beside.code, 0, beside.stderr)
  test.match(await get(gateway, '/v1/token', bearer(beside.stdout.trim())), { status: 200 })
})

t.test('beside the running server', async (test) => {
  const gateway = await startGateway(test)
  const statusOf = async (token: string, body: object = CHAT) =>
    (await post(gateway, '/v1/chat/completions', body, bearer(token))).status
  const list = async (): Promise<{ id: string; name: string }[]> =>
    JSON.parse((await runTokenGen(test, gateway.dbDir, ['--list', '--json'])).stdout)

  await test.test('a token works at once, and a revoked one no more', async (sub) => {
    const token = await mintToken(sub, gateway, { name: 'short' })
    sub.equal(await statusOf(token), 200)
    const { id = '' } = (await list()).find(({ name }) => name === 'short') ?? {}
    sub.match(await runTokenGen(sub, gateway.dbDir, ['--revoke', id]), { code: 0 })
    sub.equal(await statusOf(token), 401)
    const line = await gateway.waitForLine(({ msg }) => msg === 'token revoked')
    sub.equal(line.tokenId, id)
  })

  await test.test('a token ends at its time and serves its models alone', async (sub) => {
    const ends = new Date(Date.now() + 10_000).toISOString()
    const brief = await mintToken(sub, gateway, { expires: ends })
    sub.equal(await statusOf(brief), 200)
    const limited = await mintToken(sub, gateway, { models: 'gpt-*,other' })
    sub.equal(await statusOf(limited), 403)
    sub.same((await get(gateway, '/v1/models', bearer(limited))).json().data, [])
    // Slept through, not asked in a loop: that would meet the minute limit first.
    await setTimeout(Math.max(0, Date.parse(ends) - Date.now()) + 20)
    sub.equal(await statusOf(brief), 401)
  })

  await test.test('a name is its user’s alone', async (sub) => {
    await mintToken(sub, gateway, { user: 'ann', name: 'laptop' })
    await mintToken(sub, gateway, { user: 'bob', name: 'laptop' })
    await sub.rejects(mintToken(sub, gateway, { user: 'ann', name: 'laptop' }), /ended with 1\n.*"laptop"/)
  })

  await test.test('an admin’s token needs no more than its type', async (sub) => {
    const { code, stdout } = await runTokenGen(sub, gateway.dbDir, ['--type', 'admin'])
    sub.equal(code, 0)
    sub.equal((await get(gateway, '/v1/token', bearer(stdout.trim()))).json().type, 'admin')
  })

  await test.test('a mistake is one line, makes nothing and says by its code what it was', async (sub) => {
    const before = await list()
    const file = join(temporaryFolder(sub), 'file')
    writeFileSync(file, '')
    const results = await Promise.all(
      MISTAKES.map(async ([code, args]) => ({
        code,
        args,
        got: await runTokenGen(sub, gateway.dbDir, args),
      })),
    )
    results.push({ code: 1, args: ['in a file'], got: await runTokenGen(sub, file, GOOD) })
    for (const { code, args, got } of results) {
      sub.match(got, { code, stdout: /^$/ }, JSON.stringify(args))
      sub.match(got.stderr, /^token-gen: [\P{Cc}]+\n$/u, got.stderr)
    }
    sub.same(await list(), before)
  })
})

const GOOD = ['--type', 'user', '--userName', 'x', '--token', '5']

const MISTAKES: readonly [code: number, args: string[]][] = [
  [2, [...GOOD, '--tokens', '5']],
  [2, ['--userName', 'x']],
  [2, ['--userName', 'x', '--token', '-1']],
  [2, ['--userName', 'x', '--token', '1e400']],
  [2, [...GOOD, '--expires', 'yesterday']],
  [2, [...GOOD, '--models', ',']],
  [2, [...GOOD, '--perMinute', '0']],
  [1, ['--revoke', 'nobody']],
]
