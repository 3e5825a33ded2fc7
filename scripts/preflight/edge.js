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
    ...checkProxies(settings),
    ...checkOwnCertificates(folder),
  ]
}

/** @param {Settings} settings */
function checkStack({ STACK_NAME: name = '' }) {
  return /^[a-z0-9_.-]*$/.test(name)
    ? []
    : [`STACK_NAME is part of names of containers and images: small letters, digits and dashes, not ${name}`]
}

/** @param {Settings} settings */
function checkChallenge({ ACME_CHALLENGE: challenge = '' }) {
  return CHALLENGES.includes(challenge) ? [] : [`ACME_CHALLENGE is tls, http or off, not ${challenge}`]
}

/** @param {Settings} settings */
function checkProxies(settings) {
  return ['EDGE_TRUSTED_PROXIES', 'EDGE_PROXY_PROTOCOL'].flatMap((name) =>
    (settings[name] ?? '')
      .split(',')
      .map((text) => text.trim())
      .filter((text) => text !== '' && !isRange(text))
      .map(
        (text) =>
          `${name}: ${text} is no address and no range: such as 203.0.113.5 or 203.0.113.0/24, with commas`,
      ),
  )
}

/** @param {string} text */
function isRange(text) {
  const [address = '', bits, ...rest] = text.split('/')
  if (bits === undefined) return isIP(address) !== 0
  try {
    new BlockList().addSubnet(
      address,
      /^\d+$/.test(bits) ? Number(bits) : -1,
      isIP(address) === 6 ? 'ipv6' : 'ipv4',
    )
    // Everybody's word for who they are would be believed.
    return rest.length === 0 && Number(bits) > 0
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
