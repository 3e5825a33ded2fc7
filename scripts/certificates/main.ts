/**
 * The container "certificates": has Traefik order a certificate for each name whose DNS points to this server, and for no
 * other. An order for a name that points elsewhere can only fail, and Let's Encrypt allows five failures an hour.
 * Traefik goes on without it: routes, certificates and renewals are its own.
 */
import { createServer } from 'node:http'
import { BlockList, isIPv6, type Socket } from 'node:net'
import { join } from 'node:path'
import { findRecords } from '../preflight/network.js'
import { openAttempts } from './attempts.ts'
import { type Family, type Found, familyOf, type Reached } from './judgement.ts'
import { createOrders } from './orders.ts'
import { findAtSource } from './records.ts'
import { openSelfCheck, type SelfCheck } from './self-check.ts'
import { readSettings, type Settings } from './settings.ts'
import { askForCertificate } from './traefik.ts'
import { watchName } from './watch.ts'

const TRAEFIK = { host: 'traefik', port: 8443 }
const HTTPS_PORT = 443
/** For Traefik alone, whose looks are held until something changes, and for "docker exec certificates-prod curl -s localhost:8089/names". */
const OWN_PORT = 8089
const ATTEMPTS_FILE = join(process.env.CERTIFICATES_DIR ?? '/var/lib/certificates', 'attempts.json')
const MISCONFIGURED = 78

/** Where each address of a name leads, and over which families this server has reached itself. */
function createFinder(settings: Settings, check: SelfCheck) {
  const own = new BlockList()
  for (const address of settings.addresses) own.addAddress(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  const reachedItselfOver = new Set<Family>()
  const reach = async (address: string): Promise<Reached> => {
    if (settings.addresses.length > 0)
      return own.check(address, isIPv6(address) ? 'ipv6' : 'ipv4') ? 'here' : 'elsewhere'
    const reached = await check.reach(address, HTTPS_PORT)
    if (reached === 'here') reachedItselfOver.add(familyOf(address))
    return reached
  }
  const reachAll = (addresses: readonly string[]) =>
    Promise.all(addresses.map(async (address) => ({ address, reached: await reach(address) })))
  const find = async (name: string): Promise<Found> => {
    const { found, failure } = await findRecords(name)
    const addresses = await reachAll(found)
    if (addresses.length > 0 && addresses.every(({ reached }) => reached === 'here')) return { addresses }
    const newer = await findAtSource(name)
    if (newer.length > 0) return { addresses: await reachAll(newer) }
    return { addresses, ...(failure === undefined ? {} : { failure }) }
  }
  return { find, reachedItselfOver }
}

/** A line for each change of a name's state, and none for its repetition. */
function createReport() {
  const last = new Map<string, string>()
  const say = (name: string, text: string) => {
    if (last.get(name) === text) return
    last.set(name, text)
    process.stdout.write(`${new Date().toISOString()} ${name}: ${text}\n`)
  }
  return { say, all: () => Object.fromEntries(last) }
}

async function run(settings: Settings): Promise<void> {
  const [check, report, known] = [await openSelfCheck(), createReport(), new WeakSet<Socket>()]
  const isReached = async (name?: string) => (await check.reach(TRAEFIK.host, TRAEFIK.port, name)) === 'here'
  const orders = createOrders(isReached)
  createServer(async ({ url, socket }, response) => {
    if (url === '/traefik') {
      const isFirst = !known.has(socket)
      known.add(socket)
      response.end(JSON.stringify(await orders.look(isFirst)))
    } else if (url === '/names') response.end(`${JSON.stringify(report.all(), null, 2)}\n`)
    else response.writeHead(404).end()
  }).listen(OWN_PORT)
  // A name that is left in Traefik's configuration is ordered again each time it fails.
  for (const signal of ['SIGTERM', 'SIGINT'])
    process.once(signal, () => orders.end().then(() => process.exit(0)))
  for (const name of settings.noNames) report.say(name, 'is no hostname: correct it in .env')
  const shared = {
    ...createFinder(settings, check),
    ...settings,
    orders,
    attempts: openAttempts(ATTEMPTS_FILE, settings.authority),
    shown: (name: string) => askForCertificate(name, TRAEFIK),
    isEdgeReady: () => isReached(),
    say: report.say,
  }
  await Promise.all(settings.names.map((name) => watchName(name, shared)))
}

try {
  await run(readSettings(process.env))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = MISCONFIGURED
}
