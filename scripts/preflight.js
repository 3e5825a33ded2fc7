// @ts-check
// Plain JavaScript without dependencies: it runs before "npm ci", and on servers with an old Node.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { checkEdge, edgeAddresses } from './preflight/edge.js'
import { checkMachine, composeVersion, notes } from './preflight/machine.js'
import { checkNames, checkPorts, findAddresses } from './preflight/network.js'
import { checkSettings, describeReading, readSettings } from './preflight/settings.js'

const USAGE = `Checks a server before the first "docker-compose -f docker-compose.prod.yml up -d".
One line for each finding, with its cure. Exit code 0: nothing found, 1: something found, 2: misused.

  node scripts/preflight.js [--address IP]... [--resolver IP]     without Node: sh scripts/preflight.sh

  --address IP    the server's public address, where it cannot see it itself (behind NAT); or EDGE_ADDRESSES in .env
  --resolver IP   the DNS server to ask instead of this machine's, such as 1.1.1.1
`
const options = /** @type {const} */ ({
  address: { type: 'string', multiple: true },
  resolver: { type: 'string' },
  help: { type: 'boolean', default: false },
})

async function main() {
  const { address, resolver, help } = parseArgs({ options }).values
  if (help) return process.stdout.write(USAGE)
  // As the other commands: this folder where it has a .env, else the project's.
  if (!existsSync('.env')) process.chdir(fileURLToPath(new URL('..', import.meta.url)))
  const { settings, findings } = readSettings('.env')
  const known = edgeAddresses(settings)
  const addresses = address ?? (known.length > 0 ? known : findAddresses())
  const names = checkNames(settings, { addresses, resolver })
  findings.push(...checkSettings(settings), ...(await names), ...(await checkPorts(settings)))
  findings.push(...checkEdge(settings, 'edge/certificates'), ...checkMachine())
  for (const finding of findings) process.stdout.write(`✗ ${finding}\n`)
  process.stdout.write(describeReading(settings, { compose: composeVersion(), env: process.env }))
  process.stdout.write(notes())
  const counted = findings.length === 1 ? '1 finding' : `${findings.length} findings`
  process.stdout.write(findings.length > 0 ? `${counted}: mend and run again\n` : '✓ ready for "up -d"\n')
  process.exitCode = findings.length > 0 ? 1 : 0
}

main().catch((error) => {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 2
})
