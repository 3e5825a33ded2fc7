import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../support/gateway.ts'
import { unusedPort } from '../support/ports.ts'
import { ALL_NAMES, clone, DASHBOARD, DOMAINS, fillIn } from './support/deployment.ts'
import { startNames } from './support/names.ts'
import { run, shell } from './support/shell.ts'

const ADDRESS = '203.0.113.5'
const VERSIONS = { DOCKER_VERSION: '29.1.0', COMPOSE_VERSION: '2.40.3', TRAEFIK_RUNNING: '' }
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
  resolver?: string
  change?(folder: string): void
}

/** Runs it on a server that is all right but for what the test says. */
async function check(
  t: Test,
  { settings = {}, records = {}, env = {}, resolver, change = () => undefined }: Server = {},
) {
  const folder = await clone(t)
  fillIn(folder, { ...(await right()), ...settings }, '.env.example')
  change(folder)
  const names = resolver ?? (await startNames(t, { ...pointed(), ...records }))
  const args = ['scripts/preflight.js', '--address', ADDRESS, '--resolver', names]
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

t.test(
  "behind something else names may point there, and certificates of one's own need no e-mail",
  async (t) => {
    const elsewhere = { records: { [DOMAINS[2] ?? '']: ['198.51.100.7'] } }
    t.same(await check(t, { ...elsewhere, settings: { EDGE_DNS_CHECK: 'off' } }), { code: 0, lines: [] })
    t.same(await check(t, { ...elsewhere, settings: { ACME_CHALLENGE: 'off', ACME_EMAIL: '' } }), {
      code: 0,
      lines: [],
    })
  },
)

t.test('each finding is one line with its cure, and the exit is 1', async (t) => {
  const table: [string, Server, RegExp][] = [
    ['no .env', { change: (folder) => chmodSync(join(folder, '.env'), 0o644) }, /chmod 600 \.env/],
    ['no name at all', { settings: { DOMAIN1: '' } }, /DOMAIN1 is empty: set it/],
    ['a name is a URL', { settings: { DOMAIN4: 'https://x.example.test' } }, /DOMAIN4 is no hostname/],
    ["a name is the dashboard's", { settings: { DOMAIN3: DASHBOARD } }, /DOMAIN3 is .* the dashboard's/],
    ['no e-mail', { settings: { ACME_EMAIL: '' } }, /ACME_EMAIL is no e-mail address/],
    ['the example e-mail', { settings: { ACME_EMAIL: 'a@example.com' } }, /ACME_EMAIL is an example/],
    [
      'the older name, with an example',
      { settings: { ACME_EMAIL: '', LETSENCRYPT_EMAIL: 'a@example.com' } },
      /LETSENCRYPT_EMAIL is an example/,
    ],
    [
      'a number with its unit',
      { settings: { IDLE_TIMEOUT_MS: '30s' } },
      /IDLE_TIMEOUT_MS is no .*write 30000/,
    ],
    [
      'a name that is none',
      { settings: { OPENAI_KEY: 'sk-1' } },
      /line \d+, OPENAI_KEY: .*did you mean OPENAI_API_KEY/,
    ],
    [
      'what Composes read differently',
      { settings: { ADMIN_FIRST: 'abc$def' } },
      /line \d+, ADMIN_FIRST: .*single quotes/,
    ],
    ['an odd challenge', { settings: { ACME_CHALLENGE: 'dns' } }, /ACME_CHALLENGE is tls, http or off/],
    [
      'a front that is no range',
      { settings: { EDGE_TRUSTED_PROXIES: '203.0.113.0/24,cloudflare' } },
      /EDGE_TRUSTED_PROXIES: cloudflare is no address and no range/,
    ],
    [
      'a front that is everybody',
      { settings: { EDGE_TRUSTED_PROXIES: '0.0.0.0/0' } },
      /EDGE_TRUSTED_PROXIES: 0\.0\.0\.0\/0/,
    ],
    ['a stack that Docker takes for none', { settings: { STACK_NAME: 'Staging 2' } }, /STACK_NAME is part/],
    [
      'a certificate without its key',
      {
        change: (folder) => {
          mkdirSync(join(folder, 'edge/certificates'))
          writeFileSync(join(folder, 'edge/certificates/own.crt'), 'x')
        },
      },
      /own\.crt has no own\.key beside it/,
    ],
    ['an odd authority', { settings: { ACME_CA_SERVER: 'staging' } }, /ACME_CA_SERVER is no directory/],
    ['replicas without Redis', { settings: { COMPOSE_PROFILES: 'scale' } }, /REDIS_URL=redis/],
    ['a placeholder', { settings: { ADMIN_FIRST: 'your_secure_master_token_here' } }, /openssl rand/],
    [
      'a service without the key by which it knows the gateway',
      { settings: { USER_SERVICE_URL: 'http://users:3000', ANY_OTHER_SERVICE_URL: 'http://any' } },
      /INTERNAL_API_KEY is empty, and USER_SERVICE_URL, ANY_OTHER_SERVICE_URL need it: openssl rand -hex 32/,
    ],
    ['a short key of services', { settings: { INTERNAL_API_KEY: 'abc' } }, /INTERNAL_API_KEY is too short/],
    ['a short secret of JWTs', { settings: { JWT_SECRET: 'abc' } }, /JWT_SECRET is too short/],
    [
      'a typo of a service',
      { settings: { USERS_SERVICE_URLS: 'http://a' } },
      /did you mean USERS_SERVICE_URL\?/,
    ],
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
    [
      'Compose 1 under a Docker that it does not know',
      { env: { COMPOSE_VERSION: '1.29.2' } },
      /Compose 1\.29\.2 cannot replace containers of Docker 29\.1\.0 .*use Compose 2: /,
    ],
    [
      'a drain longer than Docker waits',
      { settings: { DRAIN_DELAY_MS: '5001', DRAIN_TIMEOUT_MS: '35000' } },
      /DRAIN_DELAY_MS .*and DRAIN_TIMEOUT_MS are 40001 together.*make them 40000 at most/,
    ],
    [
      'a drain longer than Docker waits in an update',
      { settings: { DRAIN_DELAY_MS: '', DRAIN_TIMEOUT_MS: '35001' } },
      /DRAIN_DELAY_MS \(5000 while a successor is there\) and DRAIN_TIMEOUT_MS are 40001 together/,
    ],
    [
      'a request longer than the edge waits',
      { settings: { TOTAL_TIMEOUT_MS: '1200001' } },
      /TOTAL_TIMEOUT_MS is 1200001, and the edge cuts a request after 1260000: make it 1200000 at most/,
    ],
    [
      'a wrong address',
      { settings: { EDGE_ADDRESSES: '203.0.113.500' } },
      /EDGE_ADDRESSES: 203\.0\.113\.500 is no/,
    ],
    ['an odd check', { settings: { EDGE_DNS_CHECK: 'no' } }, /EDGE_DNS_CHECK is on or off, not no/],
    ['no number', { settings: { EDGE_CONNECTIONS: '4k' } }, /EDGE_CONNECTIONS is no number/],
    [
      'one address could take most of the connections',
      { settings: { EDGE_CONNECTIONS_PER_ADDRESS: '2049', TRAEFIK_MEMORY: '4g' } },
      /EDGE_CONNECTIONS_PER_ADDRESS is 2049, more than half of EDGE_CONNECTIONS \(4096\)/,
    ],
    [
      'more connections than memory',
      { settings: { EDGE_CONNECTIONS: '20000', TRAEFIK_MEMORY: '1g' } },
      /TRAEFIK_MEMORY is too little for EDGE_CONNECTIONS=20000 and EDGE_CONNECTIONS_PER_ADDRESS=512: make it 1908m/,
    ],
    [
      'an address that could fill the memory',
      { settings: { EDGE_CONNECTIONS_PER_ADDRESS: '1000' } },
      /TRAEFIK_MEMORY is too little .*EDGE_CONNECTIONS_PER_ADDRESS=1000: make it 1240m/,
    ],
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

t.test(
  'an .env in the manner of older guides passes: its comments, its e-mail, one name five times',
  async (t) => {
    const names = { DOMAIN2: '', DOMAIN3: `${DOMAINS[0]}   # alternative`, DOMAIN4: '"third.example.test"' }
    const settings = {
      ...names,
      DOMAIN1: `${DOMAINS[0]}   # primary`,
      DOMAIN5: DOMAINS[0]?.toUpperCase() ?? '',
      ACME_EMAIL: '',
      LETSENCRYPT_EMAIL: 'admin@gateway.test   # Email for certificate notifications',
      PORT: '8088                          # Internal container port',
      ADMIN_FIRST: 'aB3dEfGhIjKlMnOpQr#StUvWx         # Master token for admin operations',
    }
    t.same(await check(t, { settings }), { code: 0, lines: [] })
  },
)

t.test('it says what Compose reads, and from which file', async (t) => {
  const folder = await clone(t)
  fillIn(
    folder,
    { ...(await right()), COMPOSE_PROFILES: 'scale', REDIS_URL: 'redis://redis:6379' },
    '.env.example',
  )
  const said = await run(process.execPath, ['scripts/preflight.js', '--address', ADDRESS], {
    cwd: folder,
    env: { ...VERSIONS, DOMAIN1: 'other.example.test' },
  })
  t.match(
    said.stdout,
    /^- Compose 2\.40\.3 reads \d+ settings from \.env: api\.example\.test, .*; profiles scale; without -f it reads docker-compose\.yml/m,
  )
  t.match(said.stdout, /^- this shell has other values of DOMAIN1, and Compose takes those/m)
})

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

t.test('Compose 1 with a Docker that it knows, and a drain just short enough, pass', async (t) => {
  const env = { DOCKER_VERSION: '25.0.5', COMPOSE_VERSION: '1.29.2' }
  const settings = { REDIS_URL: 'redis://redis:6379', DRAIN_TIMEOUT_MS: '35000' }
  t.same(await check(t, { env, settings }), { code: 0, lines: [] })
})

t.test('an IPv6 address in brackets is looked at as Docker takes it', async (t) => {
  const other = createServer().listen(0, '::1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const settings = { EDGE_HTTP: `[::1]:${await unusedPort()}`, EDGE_HTTPS: `[::1]:${port}` }
  const { lines } = await check(t, { settings })
  t.equal(lines.length, 1, lines.join(' | '))
  t.match(lines[0], `port ${port} is taken`)
})

t.test(
  "the addresses in .env are the server's own, and images without a digest are no finding",
  async (t) => {
    const folder = await clone(t)
    fillIn(folder, { ...(await right()), EDGE_ADDRESSES: ` ${ADDRESS}, 2001:db8::5` }, '.env.example')
    await shell("sed -i 's/@sha256:[0-9a-f]*$//' Dockerfile", { cwd: folder })
    const names = await startNames(t, pointed())
    const { code, stdout } = await run(process.execPath, ['scripts/preflight.js', '--resolver', names], {
      cwd: folder,
      env: VERSIONS,
    })
    t.equal(code, 0, stdout)
    t.match(stdout, /^- named by tag alone: .*\bnode:\S+ .*pin-images\.sh/m)
  },
)

t.test('a DNS server that does not answer is no missing record', async (t) => {
  const silent = createSocket('udp4').bind(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { lines } = await check(t, { resolver: `127.0.0.1:${silent.address().port}` })
  t.equal(lines.length, 1, lines.join(' | '))
  t.match(
    lines[0],
    /DNS server gave no answer \(ETIMEOUT\) for api\..*, traefik\.\S+: .*--resolver 1\.1\.1\.1/,
  )
})

t.test('without Docker the shell script says so in one line', async (t) => {
  const bin = temporaryFolder(t, 'gw-no-docker-')
  for (const tool of ['sh', 'dirname', 'sed']) symlinkSync(`/bin/${tool}`, join(bin, tool))
  const { code, stdout, stderr } = await run('/bin/sh', ['scripts/preflight.sh'], {
    cwd: await clone(t),
    env: { PATH: bin },
  })
  t.equal(code, 1)
  t.equal(stderr, '')
  t.match(stdout, /^✗ no Docker engine answers: install it.*\n$/)
})

t.test('without an .env everything that is missing is said at once', async (t) => {
  const folder = await clone(t)
  const { code, stdout } = await run(process.execPath, ['scripts/preflight.js', '--address', ADDRESS], {
    cwd: folder,
    env: { ...VERSIONS, TRAEFIK_RUNNING: 'not to look at real ports' },
  })
  t.equal(code, 1)
  t.match(stdout, /\.env is missing: cp \.env\.example \.env/)
  t.equal((await run(process.execPath, ['scripts/preflight.js', '--wrong'], { cwd: folder })).code, 2)
})

t.test("called elsewhere it looks at the project's .env, and at one that is there first", async (t) => {
  const folder = await clone(t)
  fillIn(folder, { ...(await right()), DOMAIN2: 'no_name' }, '.env.example')
  const cwd = temporaryFolder(t, 'gw-elsewhere-')
  const call = () =>
    run(process.execPath, [join(folder, 'scripts/preflight.js'), '--address', ADDRESS], {
      cwd,
      env: { ...VERSIONS, TRAEFIK_RUNNING: 'not to look at real ports' },
    })
  const { stdout } = await call()
  t.match(stdout, /DOMAIN2 is no hostname/)
  t.notMatch(stdout, /\.env is missing/)
  writeFileSync(join(cwd, '.env'), 'DOMAIN3=no_name\n')
  t.match((await call()).stdout, /DOMAIN1 is empty.*\n(.*\n)*.*DOMAIN3 is no hostname/)
})
