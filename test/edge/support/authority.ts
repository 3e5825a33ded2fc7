import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generate } from 'selfsigned'
import { Agent, fetch } from 'undici'
import { temporaryFolder } from '../../support/gateway.ts'
import { startProcess } from '../../support/process.ts'
import type { Owner } from '../../support/waiting.ts'
import { EDGE_ADDRESS } from './engine.ts'
import { poll } from './shell.ts'

/** A real ACME authority (Pebble, strict) and the DNS it asks: it checks names over the published port 443. */
export interface Authority {
  /** For `ACME_CA_SERVER`. */
  directory: string
  /** What Traefik must trust to talk to it. */
  certificate: string
  /** The root of what it issues, for clients. */
  root: string
  /** Points a name somewhere, as an operator does at the registrar. */
  point(name: string, address: string): Promise<void>
  /** Points it somewhere for the authority alone: this server still sees it as it was. */
  mislead(name: string, address: string): Promise<void>
  /** How often the authority has checked who has the name. */
  checks(name: string): number
  /** When, in milliseconds since 1970, to the second. */
  checkTimesMs(name: string): number[]
  /** All that Pebble has said. */
  said(): string
}

const SLEEP_SECONDS = '2'
/** As Go writes it into a log. */
const STAMP = /\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d/

async function certificateFiles(folder: string): Promise<string> {
  const extensions = [
    { name: 'subjectAltName' as const, altNames: [{ type: 7 as const, ip: EDGE_ADDRESS }] },
    { name: 'basicConstraints' as const, cA: true, critical: true },
  ]
  const made = await generate([{ name: 'commonName', value: 'Test ACME server' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    extensions,
  })
  writeFileSync(join(folder, 'cert.pem'), made.cert)
  writeFileSync(join(folder, 'key.pem'), made.private)
  return made.cert
}

interface NameServer {
  port: number
  managementPort: number
}

const FOR_AUTHORITY: NameServer = { port: 8053, managementPort: 8055 }
/** At the port where Docker's own resolver asks. */
const FOR_CONTAINERS: NameServer = { port: 53, managementPort: 8056 }

function startNames(t: Owner, { port, managementPort }: NameServer): void {
  const address = EDGE_ADDRESS
  const flags = {
    dns01: `${address}:${port}`,
    management: `${address}:${managementPort}`,
    defaultIPv4: address,
  }
  const off = { http01: '', https01: '', tlsalpn01: '', defaultIPv6: '' }
  const args = Object.entries({ ...flags, ...off }).map(([name, value]) => `-${name}=${value}`)
  startProcess(t, { command: 'pebble-challtestsrv', args, env: {}, cwd: '/' })
}

const point = async ({ managementPort }: NameServer, name: string, address: string): Promise<void> => {
  const body = JSON.stringify({ host: `${name}.`, addresses: [address] })
  for (const change of ['clear-a', 'add-a'])
    await poll('the DNS server', async () => {
      const url = `http://${EDGE_ADDRESS}:${managementPort}/${change}`
      const reply = await fetch(url, { method: 'POST', body }).catch(() => undefined)
      return reply?.ok || undefined
    })
}

/** Starts it; its certificates live for `validitySeconds`. */
export async function startAuthority(t: Owner, validitySeconds = 90 * 86_400): Promise<Authority> {
  const folder = temporaryFolder(t, 'gw-acme-')
  const certificate = await certificateFiles(folder)
  const pebble = {
    listenAddress: `${EDGE_ADDRESS}:14000`,
    managementListenAddress: `${EDGE_ADDRESS}:15000`,
    certificate: join(folder, 'cert.pem'),
    privateKey: join(folder, 'key.pem'),
    httpPort: 80,
    tlsPort: 443,
    ocspResponderURL: '',
    certificateValidityPeriod: validitySeconds,
  }
  writeFileSync(join(folder, 'pebble.json'), JSON.stringify({ pebble }))
  for (const server of [FOR_AUTHORITY, FOR_CONTAINERS]) startNames(t, server)
  const args = ['-strict', '-config', join(folder, 'pebble.json'), '-dnsserver', `${EDGE_ADDRESS}:8053`]
  const env = { PEBBLE_VA_SLEEPTIME: SLEEP_SECONDS }
  const running = startProcess(t, { command: 'pebble', args, env, cwd: folder })
  const said = () => running.stdout() + running.stderr()
  const checksOf = (name: string) =>
    said()
      .split('\n')
      .filter((line) => line.includes('Pulled a task') && line.includes(`Value:"${name}"`))
  const dispatcher = new Agent({ connect: { ca: certificate } })
  t.teardown(() => dispatcher.close())
  const root = await poll('Pebble', async () => {
    const reply = await fetch(`https://${EDGE_ADDRESS}:15000/roots/0`, { dispatcher }).catch(() => undefined)
    return reply?.ok ? await reply.text() : undefined
  })
  return {
    directory: `https://${EDGE_ADDRESS}:14000/dir`,
    certificate,
    root,
    async point(name, address) {
      for (const server of [FOR_AUTHORITY, FOR_CONTAINERS]) await point(server, name, address)
    },
    mislead: (name, address) => point(FOR_AUTHORITY, name, address),
    checks: (name) => checksOf(name).length,
    checkTimesMs: (name) => checksOf(name).map((line) => Date.parse(STAMP.exec(line)?.[0] ?? '')),
    said,
  }
}
