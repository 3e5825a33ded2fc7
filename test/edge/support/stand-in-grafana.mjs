// @ts-check
// What runs in Grafana's place where there is none: see stand-in-monitoring. Called as "wget" it asks one address.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'

const address = process.argv.at(-1) ?? ''
const REACHED = [
  'http://prometheus:9090/-/ready',
  'http://api-gateway:8088/health',
  'http://haproxy:8404/metrics',
]

/** @param {string} url */
async function statusOf(url) {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(3000) })).status
  } catch {
    return 0
  }
}

/** @param {string} folder */
const filesIn = (folder) => (existsSync(folder) ? readdirSync(folder, { recursive: true }) : [])

if (address.startsWith('http')) process.exit((await statusOf(address)) === 200 ? 0 : 1)

writeFileSync('/var/lib/grafana/grafana.db', 'as Grafana does: its folder must be writable')
createServer(async ({ url, headers }, response) => {
  if (url?.endsWith('/api/health')) return response.end('{}')
  const reached = Object.fromEntries(
    await Promise.all(REACHED.map(async (one) => [one, await statusOf(one)])),
  )
  const settings = Object.entries(process.env).filter(([name]) => name.startsWith('GF_'))
  const secret = readFileSync(process.env.GF_SECURITY_SECRET_KEY__FILE ?? '', 'utf8')
  const files = [...filesIn('/etc/grafana/provisioning'), ...filesIn('/etc/grafana/boards')]
  response.setHeader('content-type', 'application/json')
  const { 'x-webauth-user': user, authorization } = headers
  response.end(
    JSON.stringify({
      url,
      user,
      authorization,
      reached,
      settings: Object.fromEntries(settings),
      files,
      secretLength: secret.length,
    }),
  )
}).listen(3000)
