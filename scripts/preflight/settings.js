// @ts-check
import { statSync } from 'node:fs'
import { readDotenv } from '../../src/config/env/dotenv.js'
import { suggestNumber } from '../../src/config/env/hints.js'
import { SERVICE_URL } from '../../src/config/env/service-names.js'
import { knownNames } from '../../src/config/env/words/words.js'
import { connections } from './edge.js'

/** @typedef {Record<string, string>} Settings */

const OTHERS = 0o077
const NAMES = ['DOMAIN1', 'DOMAIN2', 'DOMAIN3', 'DOMAIN4', 'DOMAIN5']
/** The stop_grace_period of docker-compose.prod.yml, without the 5 s that the gateway takes for its last bills. */
const MOST_DRAIN_MS = 40_000
const SUCCESSOR_DELAY_MS = 5_000
/** What edge/routes.yml gives a whole request, without the minute that it is longer. */
const MOST_TOTAL_MS = 1_200_000
const HOSTNAME = /^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])$/

/** @param {string} text */
export const isHostname = (text) => HOSTNAME.test(text.toLowerCase())

/** The hostnames and the dashboard's, each once, without those that are none. @param {Settings} settings */
export function hostnames(settings) {
  const all = [...NAMES.map((name) => settings[name] ?? ''), `traefik.${settings.DOMAIN1 ?? ''}`]
  return [...new Set(all.map((name) => name.toLowerCase()))].filter((name) => HOSTNAME.test(name))
}

/**
 * Reads `.env` by the rule of the gateway, which is what both Composes make of it.
 * @param {string} path @returns {{ settings: Settings, findings: string[] }}
 */
export function readSettings(path) {
  const file = readDotenv(path, {})
  if (file === undefined)
    return { settings: {}, findings: [`${path} is missing: cp .env.example .env, then fill it in`] }
  const isOpen = (statSync(path).mode & OTHERS) !== 0
  const open = isOpen ? [`${path} can be read by other users of this server: chmod 600 ${path}`] : []
  return {
    settings: file.values,
    findings: [...open, ...file.mistakes.map((mistake) => `${path} ${mistake}`)],
  }
}

/** @param {Settings} settings @returns {string[]} */
export function checkSettings(settings) {
  return [
    ...checkDomains(settings),
    ...checkAuthority(settings),
    ...checkReplicas(settings),
    ...checkMaster(settings),
    ...checkServices(settings),
    ...checkDrain(settings),
    ...checkTotal(settings),
    ...checkNumbers(settings),
    ...checkConnections(settings),
  ]
}

/** @param {Settings} settings */
function checkDomains(settings) {
  const wrong = NAMES.filter((name) => settings[name] && !isHostname(settings[name])).map(
    (name) => `${name} is no hostname: letters, digits, dots and dashes alone, as in api.example.com`,
  )
  const dashboard = `traefik.${settings.DOMAIN1}`.toLowerCase()
  const taken = NAMES.filter((name) => settings[name]?.toLowerCase() === dashboard).map(
    (name) => `${name} is ${dashboard}, which is the dashboard's: take another name, or leave it empty`,
  )
  return [...(settings.DOMAIN1 ? [] : ['DOMAIN1 is empty: set it in .env']), ...wrong, ...taken]
}

/** @param {Settings} settings */
function checkAuthority({ ACME_EMAIL, LETSENCRYPT_EMAIL, ACME_CHALLENGE }) {
  // All certificates are the operator's own.
  if (ACME_CHALLENGE === 'off') return []
  const [name, email] =
    ACME_EMAIL || !LETSENCRYPT_EMAIL
      ? ['ACME_EMAIL', ACME_EMAIL ?? '']
      : ['LETSENCRYPT_EMAIL', LETSENCRYPT_EMAIL]
  if (!/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(email)) return [`${name} is no e-mail address: set it in .env`]
  if (/@example\.(com|org|net)$/.test(email))
    return [`${name} is an example, which Let's Encrypt refuses: set your own in .env`]
  return []
}

/** Numbers that the gateway would refuse, which would then start again and again. @param {Settings} settings */
function checkNumbers(settings) {
  return Object.entries(settings).flatMap(([name, value]) => {
    const isNumber = /(_MS|_S|_BYTES|_ROWS|_PER_\w+|^PORT)$/.test(name) && knownNames().has(name)
    if (
      !isNumber ||
      value === '' ||
      /^\d+$/.test(value) ||
      (name === 'SSE_HEARTBEAT_MS' && /^off$/i.test(value))
    )
      return []
    // What is none of the gateway's has a check of its own.
    return name.startsWith('EDGE_') ? [] : [`${name} is no whole number${suggestNumber(name, value)}`]
  })
}

/**
 * What Compose takes from where, as a line that is no finding: what it is not given on its command line comes from here.
 * @param {Settings} settings @param {{ compose: string, env: Record<string, string | undefined> }} found
 */
export function describeReading(settings, { compose, env }) {
  const said = Object.keys(settings).filter((name) => settings[name] !== '')
  const names = hostnames(settings).join(', ') || 'no hostname'
  const { COMPOSE_FILE: file = '', COMPOSE_PROFILES: profiles = '' } = settings
  const usual = file || 'docker-compose.yml, which is for development'
  const over = said.filter((name) => env[name] !== undefined && env[name] !== settings[name])
  const lines = [
    `- Compose ${compose || '(none here)'} reads ${said.length} settings from .env: ${names}${profiles && `; profiles ${profiles}`}; without -f it reads ${usual}`,
  ]
  if (over.length > 0)
    lines.push(`- this shell has other values of ${over.join(', ')}, and Compose takes those: unset them`)
  return `${lines.join('\n')}\n`
}

/** @param {Settings} settings */
function checkReplicas({ COMPOSE_PROFILES: profiles = '', REDIS_URL: redis }) {
  return profiles.split(',').includes('scale') && !redis
    ? ['COMPOSE_PROFILES=scale needs REDIS_URL=redis://redis:6379 in .env: replicas cannot share files']
    : []
}

/** @param {Settings} settings */
function checkMaster({ ADMIN_FIRST: master = '' }) {
  return master && (master.length < 16 || /^((your|change)[_-]|changeme)/i.test(master))
    ? ['ADMIN_FIRST is too short or a placeholder: openssl rand -hex 32, or leave it empty and one is made']
    : []
}

/** What the gateway would refuse of the secrets between it and services. @param {Settings} settings */
function checkServices(settings) {
  const { INTERNAL_API_KEY: key = '', INTERNAL_API_KEY_FILE: file = '', JWT_SECRET: secret = '' } = settings
  const way = 'openssl rand -hex 32'
  const urls = Object.keys(settings).filter((name) => SERVICE_URL.test(name) && settings[name] !== '')
  return [
    ...(urls.length > 0 && key === '' && file === ''
      ? [
          `INTERNAL_API_KEY is empty, and ${urls.join(', ')} ${urls.length > 1 ? 'need' : 'needs'} it: ${way}, and tell it to the services too`,
        ]
      : []),
    ...(key !== '' && key.length < 16 ? [`INTERNAL_API_KEY is too short: ${way}`] : []),
    ...(secret !== '' && secret.length < 32 ? [`JWT_SECRET is too short: ${way}`] : []),
  ]
}

/** @param {Settings} settings */
function checkDrain({ DRAIN_DELAY_MS: delay, DRAIN_TIMEOUT_MS: timeout, REDIS_URL: redis }) {
  // In an update the gateway serves on for so long, since its successor is there.
  const delayMs = redis
    ? Number(delay || SUCCESSOR_DELAY_MS)
    : Math.max(SUCCESSOR_DELAY_MS, Number(delay || 0))
  const sumMs = delayMs + Number(timeout || 25_000)
  return sumMs > MOST_DRAIN_MS
    ? [
        `DRAIN_DELAY_MS (${SUCCESSOR_DELAY_MS} while a successor is there) and DRAIN_TIMEOUT_MS are ${sumMs} together, and Docker ends the gateway after 45 s: make them ${MOST_DRAIN_MS} at most`,
      ]
    : []
}

/** @param {Settings} settings */
function checkTotal({ TOTAL_TIMEOUT_MS: totalMs }) {
  return Number(totalMs || 0) > MOST_TOTAL_MS
    ? [
        `TOTAL_TIMEOUT_MS is ${totalMs}, and the edge cuts a request after ${MOST_TOTAL_MS + 60_000}: make it ${MOST_TOTAL_MS} at most`,
      ]
    : []
}

/** Traefik's, with a request in it; and with an upload over HTTP/2 that nobody reads. */
const CONNECTION_BYTES = 100_000
const UNREAD_UPLOAD_BYTES = 1_300_000
/** What docker-compose.prod.yml has. */
const TRAEFIK_MEMORY = '1g'

/** @param {Settings} settings */
function checkConnections(settings) {
  const { EDGE_CONNECTIONS: all, EDGE_CONNECTIONS_PER_ADDRESS: one } = connections(settings)
  // Reported as what they are (edge.js).
  if (!(all > 0 && one > 0)) return []
  const findings = []
  if (one > all / 2)
    findings.push(
      `EDGE_CONNECTIONS_PER_ADDRESS is ${one}, more than half of EDGE_CONNECTIONS (${all}): one client could hurt all others`,
    )
  const least = Math.max(all * CONNECTION_BYTES, one * UNREAD_UPLOAD_BYTES)
  if (least > readBytes(settings.TRAEFIK_MEMORY || TRAEFIK_MEMORY))
    findings.push(
      `TRAEFIK_MEMORY is too little for EDGE_CONNECTIONS=${all} and EDGE_CONNECTIONS_PER_ADDRESS=${one}: make it ${Math.ceil(least / 1024 ** 2)}m`,
    )
  return findings
}

/** A size as Compose takes it; one that it would not take is not this check's to find. @param {string} text */
function readBytes(text) {
  const [, number = '', unit = ''] = /^([\d.]+)\s*([bkmg]?)b?$/i.exec(text) ?? []
  const power = ['', 'k', 'm', 'g'].indexOf(unit.toLowerCase().replace('b', ''))
  return number === '' ? Number.POSITIVE_INFINITY : Number(number) * 1024 ** power
}
