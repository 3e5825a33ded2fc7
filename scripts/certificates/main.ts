/**
 * The container "certificates": has Traefik order a certificate for each name whose DNS points to this server, and for no
 * other. An order for a name that points elsewhere can only fail, and Let's Encrypt allows five failures an hour.
 * Traefik goes on without it: routes, certificates and renewals are its own.
 */
import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import { openAttempts } from './attempts.ts'
import { createFinder } from './finder.ts'
import { createOrders } from './orders.ts'
import { openSelfCheck } from './self-check.ts'
import { readSettings, type Settings } from './settings.ts'
import { askForCertificate } from './traefik.ts'
import { watchName } from './watch.ts'

const TRAEFIK = { host: 'traefik', port: 8443 }
/**
 * Traefik asks here, and is held until something changes, and so does the operator: "curl -s localhost:8089/names"
 * inside.
 */
const OWN_PORT = 8089
const ATTEMPTS_FILE = '/var/lib/certificates/attempts.json'
const MISCONFIGURED = 78

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
    ...createFinder(settings.addresses, check),
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
