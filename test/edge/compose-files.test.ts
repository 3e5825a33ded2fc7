import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { clone, fillIn, settingsOf } from './support/deployment.ts'
import { findComposes } from './support/engine.ts'
import { type Rendered, render, type Service, traefikOptions } from './support/rendered.ts'
import { run } from './support/shell.ts'

const FILE = 'docker-compose.prod.yml'
const AUTHORITY = 'https://authority.example.test/dir'
/** Two of the five are one name, and one is empty. */
const R3_SETTINGS = `PORT=8088                          # Internal container port

DOMAIN1=api.example.test            # Primary domain
DOMAIN2=alternative.example.test
DOMAIN3=API.example.test
DOMAIN4=
DOMAIN5=short.example.test

LETSENCRYPT_EMAIL=admin@example.test   # Email for certificate notifications
ADMIN_FIRST=a-master-token-of-some-length         # Master token for admin operations
OPENAI_API_KEY=key-of-a-provider
OPENAI_BASE_URL=https://api.openai.com/v1
`
const composes = await findComposes()
if (composes.length === 0) t.plan(0, 'no Compose here: its reading of the files is not tested')

for (const compose of composes) {
  t.test(`${compose.join(' ')} reads the production file as it is meant`, async (t) => {
    const folder = await clone(t)
    fillIn(folder, settingsOf(AUTHORITY), '.env.example')
    const { services, networks } = await render(compose, folder, FILE)
    t.same(
      Object.keys(services).sort(),
      ['api-gateway', 'certificates', 'haproxy', 'prepare', 'traefik'],
      'four that stay, one that ends',
    )
    checkHardened(t, services)
    checkGateway(t, services)
    checkCertificates(t, services)
    checkTraefik(t, services)
    checkFront(t, services)
    t.equal(networks['traefik-network']?.ipam?.config?.[0]?.subnet, '198.18.6.0/24')
  })

  t.test(`${compose.join(' ')} stops at a missing name and says so in a few words`, async (t) => {
    const folder = await clone(t)
    fillIn(folder, { ...settingsOf(AUTHORITY), DOMAIN1: '' }, '.env.example')
    const { code, stdout, stderr } = await config(compose, folder)
    t.not(code, 0)
    t.match(stderr, /set DOMAIN1 in \.env/)
    t.ok((stdout + stderr).length < 700, stderr)
  })

  t.test(`${compose.join(' ')} needs no second name, and warns of none that is not set`, async (t) => {
    const folder = await clone(t)
    writeFileSync(join(folder, '.env'), R3_SETTINGS.replace(/^DOMAIN[2-5].*\n/gm, ''))
    const { code, stderr } = await config(compose, folder)
    t.equal(code, 0, stderr)
    t.notMatch(stderr, /not set|WARN/i)
  })

  t.test(
    `${compose.join(' ')} reads the settings of the guide that this product was made after`,
    async (t) => {
      const folder = await clone(t)
      writeFileSync(join(folder, '.env'), R3_SETTINGS)
      const { services } = await render(compose, folder, FILE)
      t.match(services.traefik?.environment, { DOMAIN1: 'api.example.test', DOMAIN5: 'short.example.test' })
      t.match(services.traefik?.environment, { ACME_EMAIL: '', LETSENCRYPT_EMAIL: 'admin@example.test' })
      const { code, stdout, stderr } = await startTraefik(folder, services.traefik)
      t.equal(code, 0, stderr)
      t.match(stdout, 'acme.email=admin@example.test\n')
      t.match(stdout, 'acme.tlschallenge=true')
      t.notMatch(stdout, /httpchallenge|forwardedheaders/)
      const prepare = await prepareWith(folder, services.prepare)
      t.equal(prepare.code, 0, prepare.stderr)
    },
  )

  t.test(
    `${compose.join(' ')} hands on a missing e-mail, which is told in one line and stops the start`,
    async (t) => {
      const folder = await clone(t)
      writeFileSync(join(folder, '.env'), R3_SETTINGS.replace(/^LETSENCRYPT.*\n/m, ''))
      const { services } = await render(compose, folder, FILE)
      t.equal(services.traefik?.depends_on?.prepare?.condition, 'service_completed_successfully')
      const { code, stderr } = await prepareWith(folder, services.prepare)
      t.equal(code, 78)
      t.match(stderr, /^✗ ACME_EMAIL is empty: set it in \.env .*\n$/)
    },
  )

  t.test(
    `${compose.join(' ')} reads the gateway's own file: the same gateway, and nobody reaches it from outside`,
    async (t) => {
      const folder = await clone(t)
      fillIn(folder, { ...settingsOf(AUTHORITY), EDGE_TRUSTED_PROXIES: '203.0.113.0/24' }, '.env.example')
      const { services } = await render(compose, folder, 'docker-compose.gateway.yml')
      t.same(Object.keys(services).sort(), ['api-gateway', 'prepare'])
      const { 'api-gateway': inProduction } = (await render(compose, folder, FILE)).services
      const { 'api-gateway': alone, prepare } = services
      for (const option of [
        'image',
        'container_name',
        'init',
        'mem_limit',
        'pids_limit',
        'stop_grace_period',
        'tmpfs',
      ])
        t.same(alone?.[option], inProduction?.[option], option)
      for (const service of [alone, prepare])
        t.match(service, { read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] })
      t.match(JSON.stringify(alone?.ports), '127.0.0.1')
      t.match(alone?.environment?.TRUSTED_PROXIES, /^198\.18\.6\.0\/24,203\.0\.113\.0\/24,$/)
      t.equal((await prepareWith(folder, prepare, ['gateway'])).code, 0, 'it needs no e-mail')
    },
  )

  t.test(`${compose.join(' ')} gives a second stack names of its own`, async (t) => {
    const folder = await clone(t)
    const profiles = { COMPOSE_PROFILES: 'scale,monitoring', REDIS_URL: 'redis://redis:6379' }
    fillIn(folder, { ...settingsOf(AUTHORITY), ...profiles, STACK_NAME: 'staging' }, '.env.example')
    const { services } = await render(compose, folder, FILE, ['scale', 'monitoring'])
    const named = Object.entries(services).filter(([name]) => name !== 'prepare')
    t.ok(named.length >= 7)
    for (const [name, { container_name: container }] of named) t.match(container, /-staging(-\d)?$/, name)
    t.equal(services.prepare?.image, 'api-gateway:staging')
  })

  t.test(`${compose.join(' ')} adds replicas and Redis with the profile "scale" in .env alone`, async (t) => {
    const folder = await clone(t)
    const scale = { COMPOSE_PROFILES: 'scale', REDIS_URL: 'redis://redis:6379' }
    fillIn(folder, { ...settingsOf(AUTHORITY), ...scale }, '.env.example')
    const { services } = await render(compose, folder, FILE, ['scale'])
    const names = [
      'api-gateway',
      'api-gateway-2',
      'api-gateway-3',
      'certificates',
      'haproxy',
      'prepare',
      'redis',
      'traefik',
    ]
    t.same(Object.keys(services).sort(), names)
    t.equal(services.traefik?.environment?.COMPOSE_PROFILES, 'scale')
    t.equal(services['api-gateway-2']?.environment?.REDIS_URL, scale.REDIS_URL)
    t.match(services.redis?.command?.join(' '), '--appendonly yes')
    checkHardened(t, services)
  })

  t.test(`${compose.join(' ')} adds Prometheus and Grafana with the profile "monitoring"`, async (t) => {
    const folder = await clone(t)
    fillIn(folder, { ...settingsOf(AUTHORITY), COMPOSE_PROFILES: 'monitoring' }, '.env.example')
    const { services, networks } = await render(compose, folder, FILE, ['monitoring'])
    const names = ['api-gateway', 'certificates', 'grafana', 'haproxy', 'prepare', 'prometheus', 'traefik']
    t.same(Object.keys(services).sort(), names)
    checkHardened(t, services)
    checkMonitoring(t, services)
    t.match(networks['monitoring-network'], { internal: true }, 'Grafana has no way out')
    const both = { COMPOSE_PROFILES: 'scale,monitoring', REDIS_URL: 'redis://redis:6379' }
    fillIn(folder, both)
    const all = (await render(compose, folder, FILE, ['scale', 'monitoring'])).services
    t.same(Object.keys(all).sort(), [...names, 'api-gateway-2', 'api-gateway-3', 'redis'].sort())
    for (const name of ['api-gateway', 'api-gateway-2', 'api-gateway-3']) {
      t.match(all[name]?.environment, { METRICS_KEY_FILE: '/run/monitoring/metrics-key' }, name)
      t.match(JSON.stringify(all[name]?.volumes), /\/run\/monitoring(:ro|","read_only":true)/, name)
    }
  })

  t.test(`${compose.join(' ')} reads the development file: one gateway, on localhost alone`, async (t) => {
    const folder = await clone(t)
    const { services } = await render(compose, folder, 'docker-compose.yml')
    t.same(Object.keys(services), ['development'])
    t.match(JSON.stringify(services.development?.ports), '127.0.0.1')
  })

  t.test(`${compose.join(' ')} takes nothing of production for a service of development`, async (t) => {
    const folder = await clone(t)
    const scale = { COMPOSE_PROFILES: 'scale,redis', REDIS_URL: 'redis://redis:6379' }
    fillIn(folder, { ...settingsOf(AUTHORITY), ...scale }, '.env.example')
    const names = async (file?: string) =>
      Object.keys((await render(compose, folder, file, ['scale', 'redis'])).services)
    const production = await names(FILE)
    const development = await names('docker-compose.yml')
    t.equal(development.length, 2)
    t.same(
      development.filter((name) => production.includes(name)),
      [],
    )
    t.same(await names(), development, 'without -f it is development')
    fillIn(folder, { COMPOSE_FILE: FILE })
    t.same(await names(), production, 'unless .env says otherwise')
  })
}

const config = ([command = '', ...first]: readonly string[], folder: string) =>
  run(command, [...first, '-f', FILE, 'config'], { cwd: folder })

/** A program that says what it was given, one word a line, in place of the real one. */
function standIn(folder: string, name: string): string {
  const path = join(folder, 'stand-ins')
  mkdirSync(path, { recursive: true })
  writeFileSync(join(path, name), '#!/bin/sh\nprintf "%s\\n" "$@"\n', { mode: 0o755 })
  return `${path}:${process.env.PATH}`
}

/** What Traefik is started with. */
const startTraefik = (folder: string, service: Service | undefined) =>
  run('sh', ['edge/traefik.sh', ...(service?.command ?? [])], {
    cwd: folder,
    env: { ...service?.environment, PATH: standIn(folder, 'traefik') },
  })

/** What the container "prepare" says, without its rights. */
const prepareWith = (folder: string, service: Service | undefined, flags: readonly string[] = []) =>
  run('sh', ['-c', `mkdir -p src/db src/logs letsencrypt && sh scripts/prepare-folders.sh ${flags}`], {
    cwd: folder,
    env: { ...service?.environment, PATH: standIn(folder, 'chown') },
  })

function checkHardened(t: Test, services: Rendered['services']): void {
  for (const [name, service] of Object.entries(services)) {
    t.match(service, { read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] }, name)
    t.match(service.logging, { driver: 'json-file', options: { 'max-size': '10m', 'max-file': '5' } }, name)
    t.ok(service.mem_limit, `${name} has a memory limit`)
    t.ok(Number(service.pids_limit) > 0, `${name} has a limit of processes`)
    t.notMatch(JSON.stringify(service.volumes), 'docker.sock', name)
    if (name !== 'prepare') t.equal(service.restart, 'unless-stopped', name)
    if (name !== 'haproxy') t.notOk(service.ports, `${name} publishes nothing`)
  }
}

function checkGateway(t: Test, { 'api-gateway': gateway }: Rendered['services']): void {
  t.equal(gateway?.container_name, 'api-gateway-prod')
  t.equal(gateway?.stop_grace_period, '45s', 'longer than delay, drain and last bills')
  t.match(gateway?.environment, {
    PORT: '8088',
    TRUSTED_PROXIES: '198.18.6.0/24',
    DOMAIN1: 'api.example.test',
  })
  t.equal(gateway?.init, true)
}

function checkMonitoring(t: Test, { prometheus, grafana, traefik }: Rendered['services']): void {
  t.match(prometheus?.image, /^prom\/prometheus:v3\.\d+\.\d+(@|$)/)
  t.match(prometheus?.command?.join(' '), '--storage.tsdb.retention.time=30d')
  t.match(prometheus?.command?.join(' '), '--storage.tsdb.retention.size=2GB')
  t.match(grafana?.image, /^grafana\/grafana:\d+\.\d+\.\d+(@|$)/)
  const settings = { GF_AUTH_ANONYMOUS_ENABLED: 'false', GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: 'true' }
  t.match(grafana?.environment, settings)
  for (const service of [prometheus, grafana]) t.equal(service?.user, '1000:1000')
  t.notMatch(JSON.stringify(grafana?.networks), 'traefik-network', 'whoever is there may say who a client is')
  t.match(JSON.stringify(traefik?.networks), 'monitoring-network')
}

function checkCertificates(t: Test, { certificates }: Rendered['services']): void {
  t.match(certificates?.environment, { DOMAIN1: 'api.example.test', DOMAIN5: 'fifth.example.test' })
  t.match(certificates?.environment, { ACME_CA_SERVER: AUTHORITY, EDGE_DNS_CHECK: 'on' })
  t.notMatch(JSON.stringify(certificates?.volumes), 'letsencrypt', 'it needs no key')
}

/** Traefik's options, each with the value that the research and the trials have shown to matter. */
const OPTIONS = {
  'providers.file.filename': '/edge/routes.yml',
  'providers.http.endpoint': 'http://certificates:8089/traefik',
  'providers.providersthrottleduration': '0s',
  'entrypoints.web.http.redirections.entrypoint.to': ':443',
  'entrypoints.web.http.redirections.entrypoint.scheme': 'https',
  'entrypoints.web.http.redirections.entrypoint.permanent': 'true',
  'entrypoints.websecure.http.maxheaderbytes': '65536',
  'entrypoints.websecure.http.encodedcharacters.allowencodedslash': 'true',
  'entrypoints.websecure.http.aliasheadersstrategy': 'delete',
  'entrypoints.websecure.transport.respondingtimeouts.readtimeout': '20s',
  'entrypoints.websecure.http.middlewares': 'entrance@file',
  'entrypoints.websecure.proxyprotocol.trustedips': '198.18.6.0/24',
  'entrypoints.web.proxyprotocol.trustedips': '198.18.6.0/24',
  'experimental.abortonpluginfailure': 'true',
  'entrypoints.websecure.transport.respondingtimeouts.writetimeout': '0s',
  'entrypoints.websecure.transport.lifecycle.gracetimeout': '35s',
  'serverstransport.forwardingtimeouts.idleconntimeout': '60s',
  'serverstransport.forwardingtimeouts.dialtimeout': '2s',
  'certificatesresolvers.letsencrypt.acme.caserver': AUTHORITY,
  'certificatesresolvers.letsencrypt.acme.keytype': 'EC256',
  'certificatesresolvers.letsencrypt.acme.storage': '/letsencrypt/acme.json',
  'accesslog.format': 'json',
  'accesslog.fields.headers.defaultmode': 'drop',
  'accesslog.fields.queryparameters.defaultmode': 'drop',
  'metrics.prometheus.entrypoint': 'internal',
  'ping.entrypoint': 'internal',
}

function checkTraefik(t: Test, { traefik }: Rendered['services']): void {
  t.equal(traefik?.container_name, 'traefik-prod')
  t.match(traefik?.image, /^traefik:v3\.7\.(1[5-9]|[2-9]\d)(@sha256:[0-9a-f]{64})?$/)
  t.match(traefikOptions(traefik), OPTIONS)
  t.notOk(Object.keys(traefikOptions(traefik)).some((name) => name.startsWith('api.insecure')))
  t.equal(traefik?.stop_grace_period, '45s')
  t.equal(traefik?.user, '1000:1000')
  t.match(traefik?.environment, { DOMAIN1: 'api.example.test', DOMAIN5: 'fifth.example.test' })
}

function checkFront(t: Test, { haproxy }: Rendered['services']): void {
  t.equal(haproxy?.container_name, 'haproxy-prod')
  t.match(haproxy?.image, /^haproxy:3\.2-/)
  t.equal(haproxy?.user, '1000:1000')
  t.equal(haproxy?.stop_signal, 'SIGUSR1', 'what runs may end')
  t.equal(haproxy?.stop_grace_period, '45s')
  t.match(haproxy?.environment, {
    EDGE_SUBNET: '198.18.6.0/24',
    EDGE_CONNECTIONS: '4096',
    EDGE_CONNECTIONS_PER_ADDRESS: '512',
  })
  const ports = JSON.stringify(haproxy?.ports)
  t.match(ports, /8080/)
  t.match(ports, /8443/)
  t.equal(haproxy?.ports?.length, 2, 'nothing else is published')
}
