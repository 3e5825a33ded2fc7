// @ts-check
import { existsSync, readdirSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { join } from 'node:path'

/** @typedef {import('./settings.js').Settings} Settings */

const CHALLENGES = ['', 'tls', 'http', 'off']

/** What Traefik and HAProxy would refuse to start with, or pass over. @param {Settings} settings @param {string} folder */
export function checkEdge(settings, folder) {
  return [
    ...checkStack(settings),
    ...checkChallenge(settings),
    ...checkAuthority(settings),
    ...checkRanges(settings),
    ...checkAddresses(settings),
    ...checkConnections(settings),
    ...checkMetricsKey(settings),
    ...checkOwnCertificates(folder),
  ]
}

/** @param {Settings} settings */
function checkStack({ STACK_NAME: name = '', COMPOSE_PROFILES: profiles = '' }) {
  const findings = []
  if (!/^[a-z0-9_.-]*$/.test(name))
    findings.push(
      `STACK_NAME is part of names of containers and images: small letters, digits and dashes, not ${name}`,
    )
  // To Compose 1 a blank is part of the name, to Compose 2 it is none.
  if (/\s/.test(profiles.trim()))
    findings.push(
      `COMPOSE_PROFILES holds blanks, which Composes read differently: COMPOSE_PROFILES=${profiles.replace(/\s+/g, '')}`,
    )
  return findings
}

/** @param {Settings} settings */
function checkChallenge({ ACME_CHALLENGE: challenge = '' }) {
  return CHALLENGES.includes(challenge) ? [] : [`ACME_CHALLENGE is tls, http or off, not ${challenge}`]
}

/** The server's public addresses, as far as its operator has named them. @param {Settings} settings */
export function edgeAddresses({ EDGE_ADDRESSES: list = '' }) {
  return list
    .split(',')
    .map((text) => text.trim())
    .filter(Boolean)
}

/** @param {Settings} settings */
function checkAuthority({ ACME_CHALLENGE: challenge, ACME_CA_SERVER: server }) {
  return challenge === 'off' || !server || /^https:\/\/[^/]+\/.+/.test(server)
    ? []
    : ['ACME_CA_SERVER is no directory URL: https://acme-staging-v02.api.letsencrypt.org/directory, or empty']
}

/** @param {Settings} settings */
function checkAddresses(settings) {
  const findings = edgeAddresses(settings)
    .filter((address) => isIP(address) === 0)
    .map((address) => `EDGE_ADDRESSES: ${address} is no IP address: set it in .env, such as 203.0.113.5`)
  const { EDGE_DNS_CHECK: check = '' } = settings
  if (!['', 'on', 'off'].includes(check)) findings.push(`EDGE_DNS_CHECK is on or off, not ${check}`)
  return findings
}

/** The values that docker-compose.prod.yml has. */
const CONNECTIONS = /** @type {const} */ ({ EDGE_CONNECTIONS: '4096', EDGE_CONNECTIONS_PER_ADDRESS: '512' })
const COUNTED = /** @type {const} */ (['EDGE_CONNECTIONS', 'EDGE_CONNECTIONS_PER_ADDRESS'])

/** How many connections are let in; what is no number is NaN. @param {Settings} settings */
export function connections(settings) {
  const [EDGE_CONNECTIONS = 0, EDGE_CONNECTIONS_PER_ADDRESS = 0] = COUNTED.map((name) => {
    const text = settings[name] || CONNECTIONS[name]
    return /^[1-9]\d*$/.test(text) ? Number(text) : Number.NaN
  })
  return { EDGE_CONNECTIONS, EDGE_CONNECTIONS_PER_ADDRESS }
}

/** @param {Settings} settings */
function checkConnections(settings) {
  const read = connections(settings)
  return COUNTED.filter((name) => Number.isNaN(read[name])).map(
    (name) => `${name} is no number of connections: set it in .env, or leave it empty`,
  )
}

/** The gateways would not start with it. @param {Settings} settings */
function checkMetricsKey({ METRICS_KEY: key }) {
  return !key || key.length >= 16
    ? []
    : ['METRICS_KEY is too short: openssl rand -hex 32, or leave it empty and one is made']
}

/** @param {Settings} settings */
function checkRanges(settings) {
  return ['EDGE_TRUSTED_PROXIES', 'EDGE_PROXY_PROTOCOL', 'DASHBOARD_ALLOWLIST'].flatMap((name) =>
    (settings[name] ?? '')
      .split(',')
      .map((text) => text.trim())
      // Everybody may be asked for the password, but not believed who they are.
      .filter((text) => text !== '' && !isRange(text, name === 'DASHBOARD_ALLOWLIST' ? 0 : 1))
      .map(
        (text) =>
          `${name}: ${text} is no address and no range: such as 203.0.113.5 or 203.0.113.0/24, with commas`,
      ),
  )
}

/** @param {string} text @param {number} leastBits */
function isRange(text, leastBits) {
  const [address = '', bits, ...rest] = text.split('/')
  // Neither Traefik nor HAProxy knows the name of an interface.
  if (address.includes('%')) return false
  if (bits === undefined) return isIP(address) !== 0
  try {
    new BlockList().addSubnet(
      address,
      /^(0|[1-9]\d*)$/.test(bits) ? Number(bits) : -1,
      isIP(address) === 6 ? 'ipv6' : 'ipv4',
    )
    return rest.length === 0 && Number(bits) >= leastBits
  } catch {
    return false
  }
}

/** @param {string} folder */
function checkOwnCertificates(folder) {
  const files = existsSync(folder) ? readdirSync(folder) : []
  const named = files.filter((file) => file.endsWith('.crt')).map((file) => file.slice(0, -'.crt'.length))
  return [
    ...named
      .filter((name) => !/^[\w.-]+$/.test(name))
      .map((name) => `${join(folder, name)}.crt: letters, digits, dots and dashes alone, please`),
    ...named
      .filter((name) => !files.includes(`${name}.key`))
      .map((name) => `${join(folder, name)}.crt has no ${name}.key beside it`),
  ]
}
