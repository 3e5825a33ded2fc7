import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { unusedPort } from '../support/ports.ts'
import { ALL_NAMES, clone, DASHBOARD, DOMAINS, fillIn } from './support/deployment.ts'
import { startNames } from './support/names.ts'
import { run } from './support/shell.ts'

const ADDRESS = '203.0.113.5'
const VERSIONS = { DOCKER_VERSION: '29.1.0', COMPOSE_VERSION: '1.29.2', TRAEFIK_RUNNING: '' }
const pointed = (address = ADDRESS) => Object.fromEntries(ALL_NAMES.map((name) => [name, [address]]))
const right = async () => ({
  ...Object.fromEntries(DOMAINS.map((domain, index) => [`DOMAIN${index + 1}`, domain])),
  ACME_EMAIL: 'operator@gateway.test',
  EDGE_HTTP: `127.0.0.1:${await unusedPort()}`,
  EDGE_HTTPS: `127.0.0.1:${await unusedPort()}`,
})

interface Server {
  settings?: Record<string, string>
  records?: Record<string, string[]>
  env?: Record<string, string>
  change?(folder: string): void
}

/** Runs it on a server that is all right but for what the test says. */
async function check(
  t: Test,
  { settings = {}, records = {}, env = {}, change = () => undefined }: Server = {},
) {
  const folder = await clone(t)
  fillIn(folder, { ...(await right()), ...settings }, '.env.example')
  change(folder)
  const resolver = await startNames(t, { ...pointed(), ...records })
  const args = ['scripts/preflight.js', '--address', ADDRESS, '--resolver', resolver]
  const { code, stdout, stderr } = await run(process.execPath, args, {
    cwd: folder,
    env: { ...VERSIONS, ...env },
  })
  t.equal(stderr, '')
  return {
    code,
    lines: stdout
      .trim()
      .split('\n')
      .filter((line) => line.startsWith('✗')),
  }
}

t.test('a server that is ready passes, before anything is installed in the clone', async (t) => {
  t.same(await check(t), { code: 0, lines: [] })
})

t.test('each finding is one line with its cure, and the exit is 1', async (t) => {
  const table: [string, Server, RegExp][] = [
    ['no .env', { change: (folder) => chmodSync(join(folder, '.env'), 0o644) }, /chmod 600 \.env/],
    ['a name is missing', { settings: { DOMAIN4: '' } }, /DOMAIN4 is empty: set it/],
    ['a name is a URL', { settings: { DOMAIN4: 'https://x.example.test' } }, /DOMAIN4 is no hostname/],
    ['no e-mail', { settings: { ACME_EMAIL: '' } }, /ACME_EMAIL is no e-mail address/],
    ['the example e-mail', { settings: { ACME_EMAIL: 'a@example.com' } }, /ACME_EMAIL is an example/],
    [
      'the old variable',
      { settings: { ACME_EMAIL: '', LETSENCRYPT_EMAIL: 'a@b.test' } },
      /call it ACME_EMAIL/,
    ],
    ['an odd authority', { settings: { ACME_CA_SERVER: 'staging' } }, /ACME_CA_SERVER is no directory/],
    ['replicas without Redis', { settings: { COMPOSE_PROFILES: 'scale' } }, /REDIS_URL=redis/],
    ['a placeholder', { settings: { ADMIN_FIRST: 'your_secure_master_token_here' } }, /openssl rand/],
    [
      'the sixth name has no record',
      { records: { [DASHBOARD]: [] } },
      /traefik\.\S+ has no DNS record: make an A/,
    ],
    [
      'a name points elsewhere',
      { records: { [DOMAINS[2] ?? '']: ['198.51.100.7'] } },
      /third\S* points to 198\.51\.100\.7/,
    ],
    [
      'an IPv6 record of the last server',
      { records: { [DOMAINS[1] ?? '']: [ADDRESS, '2001:db8:0:0:0:0:0:7'] } },
      /alternative\S* points to 2001:db8::7/,
    ],
    ['old Docker', { env: { DOCKER_VERSION: '19.3.15' } }, /Docker 19\.3\.15 is too old: install 20\.10/],
    ['no Docker', { env: { DOCKER_VERSION: '' } }, /no Docker engine answers/],
    ['old Compose', { env: { COMPOSE_VERSION: 'v1.25.0' } }, /Compose v1\.25\.0 is too old/],
    ['no Compose', { env: { COMPOSE_VERSION: '' } }, /no Compose here: install/],
    ['open keys', { change: openKeys }, /acme\.json can be read by other users.*chmod 600/],
  ]
  for (const [what, server, expected] of table) {
    const { code, lines } = await check(t, server)
    t.equal(code, 1, what)
    t.equal(lines.length, 1, `${what}: ${lines.join(' | ')}`)
    t.match(lines[0], expected)
  }
})

const openKeys = (folder: string) =>
  writeFileSync(join(folder, 'letsencrypt/acme.json'), '{}', { mode: 0o644 })

t.test('a port that another program has is named, unless it is the edge itself', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const settings = { EDGE_HTTPS: `127.0.0.1:${port}` }
  const { code, lines } = await check(t, { settings })
  t.equal(code, 1)
  t.match(lines, [new RegExp(`port ${port} is taken: "ss -ltnp`)])
  t.same(await check(t, { settings, env: { TRAEFIK_RUNNING: 'abc123' } }), { code: 0, lines: [] })
})

t.test('without an .env everything that is missing is said at once', async (t) => {
  const folder = await clone(t)
  const { code, stdout } = await run(process.execPath, ['scripts/preflight.js', '--address', ADDRESS], {
    cwd: folder,
    env: { ...VERSIONS, TRAEFIK_RUNNING: 'not to look at real ports' },
  })
  t.equal(code, 1)
  t.match(stdout, /\.env is missing or unreadable: cp \.env\.example \.env/)
  t.equal((await run(process.execPath, ['scripts/preflight.js', '--wrong'], { cwd: folder })).code, 2)
})
