import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { clone, fillIn, settingsOf } from './support/deployment.ts'
import { findComposes } from './support/engine.ts'
import { render } from './support/rendered.ts'
import { run } from './support/shell.ts'

const FILE = 'docker-compose.prod.yml'
const composes = await findComposes()
if (composes.length === 0) t.plan(0, 'no Compose here: what "prepare" makes of .env is not tested')

/** What the container "prepare" says of this `.env`, without its rights. */
async function prepareWith(compose: readonly string[], folder: string, settings: Record<string, string>) {
  fillIn(folder, { ...settingsOf(''), ...settings }, '.env.example')
  const { services } = await render(compose, folder, FILE)
  const line = 'mkdir -p src/db src/logs letsencrypt && sh scripts/prepare-folders.sh'
  const env = { ...services.prepare?.environment, PATH: `${join(folder, 'stand-ins')}:${process.env.PATH}` }
  return run('sh', ['-c', line], { cwd: folder, env })
}

/** With a volume of Prometheus' in the folder, and a `chown` that needs no rights. */
async function server(t: Test) {
  const folder = await clone(t)
  const volume = join(folder, 'monitoring')
  mkdirSync(volume)
  mkdirSync(join(folder, 'stand-ins'))
  writeFileSync(join(folder, 'stand-ins/chown'), '#!/bin/sh\n', { mode: 0o755 })
  await run('sed', ['-i', `s|=/run/monitoring|=${volume}|`, 'scripts/prepare-folders.sh'], { cwd: folder })
  return { folder, volume }
}

for (const compose of composes) {
  t.test(`${compose.join(' ')} opens the metrics with the key of .env, as long as it is there`, async (t) => {
    const { folder, volume } = await server(t)
    const keyWith = async (METRICS_KEY: string) => {
      const { code, stderr } = await prepareWith(compose, folder, { METRICS_KEY })
      t.equal(code, 0, stderr)
      t.equal(statSync(join(volume, 'metrics-key')).mode & 0o777, 0o600)
      return readFileSync(join(volume, 'metrics-key'), 'utf8')
    }
    const made = await keyWith('')
    t.match(made, /^[0-9a-f]{64}$/)
    t.equal(await keyWith(''), made, 'it stays')
    t.equal(await keyWith('a-key-of-the-operator'), 'a-key-of-the-operator')
    const next = await keyWith('')
    t.match(next, /^[0-9a-f]{64}$/, 'the operator’s opens nothing any more')
    t.not(next, made)
  })

  t.test(`${compose.join(' ')} stops at settings that the edge could not start with`, async (t) => {
    const { folder } = await server(t)
    const table: [Record<string, string>, RegExp | undefined][] = [
      [{ DASHBOARD_ALLOWLIST: '203.0.113.7, ::1,2001:db8::/32' }, undefined],
      [{ DASHBOARD_ALLOWLIST: 'office' }, /^✗ DASHBOARD_ALLOWLIST: office is no address and no range/],
      [{ DASHBOARD_ALLOWLIST: '203.0.113.0/24 ::1' }, /^✗ DASHBOARD_ALLOWLIST: 203\.0\.113\.0\/24 ::1 is no/],
      [{ EDGE_TRUSTED_PROXIES: 'fe80::1%eth0' }, /^✗ EDGE_TRUSTED_PROXIES: fe80::1%eth0 is no address/],
      [{ EDGE_TRUSTED_PROXIES: '203.0.113.0/024' }, /^✗ EDGE_TRUSTED_PROXIES: 203\.0\.113\.0\/024 is no/],
      [{ COMPOSE_PROFILES: 'scale, monitoring' }, /^✗ COMPOSE_PROFILES holds .*=scale,monitoring\n/],
      [{ METRICS_KEY: 'short' }, /^✗ METRICS_KEY is too short: openssl rand/],
      [{ EDGE_CONNECTIONS: 'many' }, /^✗ EDGE_CONNECTIONS is no number of connections/],
      [{ EDGE_CONNECTIONS_PER_ADDRESS: '0' }, /^✗ EDGE_CONNECTIONS_PER_ADDRESS is no number/],
      [{ EDGE_DNS_CHECK: 'no' }, /^✗ EDGE_DNS_CHECK is on or off, not no/],
      [
        { EDGE_ADDRESSES: '203.0.113.5;203.0.113.6' },
        /^✗ EDGE_ADDRESSES: 203\.0\.113\.5;.* is no IP address/,
      ],
      [{ ACME_CA_SERVER: 'staging' }, /^✗ ACME_CA_SERVER is no directory URL/],
      [{ DOMAIN1: 'https://api.example.test' }, /^✗ DOMAIN1 is no hostname/],
      [{ DOMAIN4: 'https://api.example.test' }, undefined],
    ]
    for (const [settings, expected] of table) {
      const { code, stderr } = await prepareWith(compose, folder, settings)
      const what = JSON.stringify(settings)
      t.equal(code, expected ? 78 : 0, `${what}: ${stderr}`)
      if (expected) t.match(stderr, expected, what)
    }
  })
}
