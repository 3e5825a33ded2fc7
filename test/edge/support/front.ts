import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generate } from 'selfsigned'
import type { Owner } from '../../support/waiting.ts'
import { clone, DASHBOARD, DOMAINS, fillIn, settingsOf } from './deployment.ts'
import { findComposes } from './engine.ts'
import { type Rendered, render } from './rendered.ts'
import { output, poll, run, shell } from './shell.ts'
import { type Visitor, visitorAs } from './visitor.ts'

/**
 * HAProxy and Traefik of the production file alone, in containers and a network of their own, with certificates of the
 * operator's own: what stands behind them is a process of the test.
 */
export interface Front {
  folder: string
  /** Where the gateway has to listen, on port 8088. */
  gatewayAddress: string
  /** Where clients come in: HAProxy's own address, past Docker's proxy, so that it sees who comes. */
  address: string
  /** The root of its certificates. */
  root: string
  /** Somebody with this address. */
  from(localAddress: string): Visitor
  /** All that Traefik has said. */
  log(): Promise<string>
}

export interface FrontOptions {
  settings?: Record<string, string>
  /** The third number of its network: tests that run at once take different ones. */
  net: number
  /** Addresses that clients of the test have. */
  clients: readonly string[]
}

const HTTPS = 8443

/** A certificate for the five names and the dashboard's, which is its own root. */
export async function makeOwnCertificate(names: readonly string[]) {
  const altNames = names.map((value) => ({ type: 2 as const, value }))
  const made = await generate([{ name: 'commonName', value: 'An operator' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    extensions: [
      { name: 'subjectAltName', altNames },
      { name: 'basicConstraints', cA: true, critical: true },
    ],
  })
  return { cert: made.cert, key: made.private }
}

/** Writes it where the edge looks for it, as an operator would. */
export function placeCertificate(folder: string, name: string, { cert, key }: { cert: string; key: string }) {
  mkdirSync(join(folder, 'edge/certificates'), { recursive: true })
  writeFileSync(join(folder, `edge/certificates/${name}.crt`), cert)
  writeFileSync(join(folder, `edge/certificates/${name}.key`), key, { mode: 0o600 })
}

export async function startFront(t: Owner, { settings = {}, net, clients }: FrontOptions): Promise<Front> {
  const folder = await clone(t)
  const subnet = `198.18.${net}`
  fillIn(folder, { ...settingsOf(''), EDGE_SUBNET: `${subnet}.0/24`, ...settings }, '.env.example')
  const own = await makeOwnCertificate([`*.${(DOMAINS[0] ?? '').replace(/^\w+\./, '')}`, DASHBOARD])
  placeCertificate(folder, 'own', own)
  // Nobody knows the password: with a user the dashboard asks, without any it is not there.
  writeFileSync(join(folder, 'edge/dashboard-users'), `admin:${'$2a$10$'.padEnd(60, 'x')}\n`, { mode: 0o600 })
  await shell('mkdir -p letsencrypt && chown -R 1000:1000 letsencrypt edge && chmod -R a+rX edge', {
    cwd: folder,
  })
  const [compose = []] = await findComposes()
  const { services } = await render(compose, folder, 'docker-compose.prod.yml')
  for (const address of clients) {
    await run('ip', ['address', 'add', `${address}/32`, 'dev', 'lo'])
    t.teardown(() => run('ip', ['address', 'del', `${address}/32`, 'dev', 'lo']))
  }
  const network = `gateway-front-test-${net}`
  await sweep(network)
  await output('docker', ['network', 'create', '--subnet', `${subnet}.0/24`, network])
  t.teardown(() => sweep(network))
  const place = { folder, network, near: `${subnet}.1` }
  await start(place, services, { name: 'traefik', address: `${subnet}.3` })
  await start(place, services, { name: 'haproxy', address: `${subnet}.2` })
  const address = `${subnet}.2`
  const from = (localAddress: string) =>
    visitorAs({ root: own.cert, localAddress, host: address, port: HTTPS })
  const log = () => shell(`docker logs ${network}-traefik 2>&1`)
  await poll('Traefik to answer', async () => from(clients[0] ?? '').certificate(DOMAINS[0] ?? '')).catch(
    async (error) => {
      throw new Error(`${error}\n${await log()}`)
    },
  )
  return { folder, gatewayAddress: place.near, address, root: own.cert, from, log }
}

const sweep = (network: string) =>
  shell(
    `docker ps -aq --filter network=${network} | xargs -r docker rm -f; docker network rm ${network} || true`,
  )

interface Place {
  folder: string
  network: string
  near: string
}

/** As Compose would, but for what the production project has once on a machine: names and ports. */
async function start(
  { folder, network, near }: Place,
  services: Rendered['services'],
  { name, address }: { name: string; address: string },
): Promise<void> {
  const { image = '', command = [], entrypoint, environment = {} } = services[name] ?? {}
  const first = Array.isArray(entrypoint) ? entrypoint.map(String) : []
  const flags = Object.entries(environment).flatMap(([key, value]) => ['-e', `${key}=${value}`])
  const mounts = ['edge:/edge:ro', 'edge/plugins-local:/plugins-local:ro', 'letsencrypt:/letsencrypt']
  const [program, ...rest] = [...first, ...command]
  await output('docker', [
    ...['run', '-d', '--name', `${network}-${name}`, '--network', network, '--ip', address],
    ...['--network-alias', name, '--add-host', `api-gateway:${near}`, '--add-host', 'certificates:127.0.0.1'],
    ...['--user', '1000:1000', '--read-only', '--tmpfs', '/tmp', '-w', '/', '--cap-drop', 'ALL'],
    ...mounts.flatMap((mount) => ['-v', join(folder, mount)]),
    ...flags,
    ...['--entrypoint', program ?? '', image, ...rest],
  ])
}
