import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { buildAddressCheck, isAddressBlock } from '../address-blocks.ts'
import { readCode } from '../mistakes.ts'
import { isPrivateHost } from '../private-host.ts'
import { type Environment, readSecret, readText } from './secrets.ts'
import { describeRawPassword } from './url-password.ts'

/** A proxy as the operator named it. */
export interface ProxyAddress {
  /** Whether it is itself spoken to over TLS. */
  isTls: boolean
  host: string
  port: number
  /** The value of `Proxy-Authorization`. */
  authorization: string | undefined
}

interface Target {
  /** An IPv6 address is without brackets. */
  host: string
  port: number
  isTls: boolean
}

/** What stands between this gateway and the internet. */
export interface OutgoingProxies {
  /** Undefined: this target is reached directly. */
  proxyFor(target: Target): ProxyAddress | undefined
  /** The same for services: those of the operator's own network are reached directly. */
  serviceProxyFor(target: Target): ProxyAddress | undefined
  /** What no log may show. */
  secrets: readonly string[]
}

const EXPECTS = 'must look like http://user:password@proxy.example.com:3128 or https://...'

/**
 * Reads `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in lower case first, as curl and undici do; undefined: there is no
 * proxy. No mistake's text repeats a URL, which may hold a password.
 */
export function readOutgoingProxies(env: Environment, mistakes: string[]): OutgoingProxies | undefined {
  const secure = readProxy(env, 'HTTPS_PROXY', mistakes)
  const plain = readProxy(env, 'HTTP_PROXY', mistakes)
  if (!secure && !plain) return undefined
  const isDirect = readExceptions(readText(env, 'no_proxy') ?? readText(env, 'NO_PROXY') ?? '')
  const proxyFor = (target: Target): ProxyAddress | undefined => {
    const proxy = target.isTls ? secure?.address : plain?.address
    return proxy && !isDirect(target) ? proxy : undefined
  }
  return {
    proxyFor,
    serviceProxyFor: (target) => (isNear(target) ? undefined : proxyFor(target)),
    secrets: [...(secure?.secrets ?? []), ...(plain?.secrets ?? [])],
  }
}

function readProxy(env: Environment, name: string, mistakes: string[]) {
  const lower = readText(env, name.toLowerCase())
  const { value, mistake } = lower === undefined ? readSecret(env, name) : { value: lower }
  if (mistake) mistakes.push(mistake)
  if (value === undefined) return undefined
  // Without a scheme it is plain HTTP, as for curl.
  const url = URL.parse(value.includes('://') ? value : `http://${value}`)
  const isOurs = url !== null && /^https?:$/.test(url.protocol) && url.hostname !== ''
  const credentials = isOurs ? readCredentials(url) : undefined
  if (isOurs && credentials !== undefined && url.pathname === '/' && url.search === '')
    return { address: addressOf(url, credentials), secrets: secretsOf(credentials) }
  const socks = /^socks/i.test(value) ? '; SOCKS is not spoken here' : ''
  const raw = describeRawPassword(value.replace(/^\w+:\/\//, ''))
  mistakes.push(`${name} ${EXPECTS}${socks}${raw && `: ${raw}`}`)
  return undefined
}

/** User and password with a colon between, or nothing; undefined: their escapes are broken. */
function readCredentials({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return ''
  try {
    return `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  } catch {
    return undefined
  }
}

function addressOf({ protocol, hostname, port }: URL, credentials: string): ProxyAddress {
  const isTls = protocol === 'https:'
  return {
    isTls,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (isTls ? 443 : 80) : Number(port),
    authorization: credentials === '' ? undefined : `Basic ${base64(credentials)}`,
  }
}

function secretsOf(credentials: string): string[] {
  const password = credentials.slice(credentials.indexOf(':') + 1)
  return credentials === '' ? [] : [password, base64(credentials)].filter((secret) => secret !== '')
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

type IsDirect = (target: Target) => boolean

/**
 * Which targets need no proxy: a name stands for itself and all below it, a leading `.` or `*.` changes nothing; an address,
 * a block of addresses; each with a port or without; `*` is everything. This machine itself is never behind a proxy. What
 * cannot be read matches nothing: others read the same variable, and understand other things.
 */
function readExceptions(text: string): IsDirect {
  const entries = text
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean)
  const all = [isLoopback, ...entries.map(readException)]
  return (target) => all.some((isDirect) => isDirect(target))
}

const isLoopbackAddress = buildAddressCheck(['127.0.0.0/8', '::1'])

function isLoopback({ host }: Target): boolean {
  return isBelow(host, 'localhost') || isLoopbackAddress(host)
}

/** Names of documents, which no network has (RFC 2606). */
const NOBODYS = /\.(example|invalid)$/

/** In the operator's own network, as the containers beside this one are: the way to the internet does not lead there. */
function isNear({ host }: Target): boolean {
  return isPrivateHost(host) && !NOBODYS.test(host)
}

function readException(entry: string): IsDirect {
  if (entry === '*') return () => true
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(entry) ?? []
  // More than one colon and no brackets: an IPv6 address without a port.
  const name = (bracketed ?? plain ?? entry).replace(/^\*?\./, '').replace(/\.$/, '')
  const port = digits === undefined ? undefined : Number(digits)
  const isNamed = isAddressBlock(name) ? buildAddressCheck([name]) : (host: string) => isBelow(host, name)
  return (target) => (port === undefined || port === target.port) && isNamed(target.host)
}

function isBelow(host: string, name: string): boolean {
  return host === name || host.endsWith(`.${name}`)
}

const CERTIFICATES = 'NODE_EXTRA_CA_CERTS'
const CERTIFICATE = /-----BEGIN (X509 |TRUSTED |)CERTIFICATE-----[^-]+-----END \1CERTIFICATE-----/g

/** The certificates of the PEM file that `NODE_EXTRA_CA_CERTS` names. */
export function readExtraCertificates(env: Environment, mistakes: string[]): string[] {
  const path = readText(env, CERTIFICATES)
  if (path === undefined) return []
  try {
    const found = readFileSync(path, 'utf8').match(CERTIFICATE) ?? []
    for (const text of found) new X509Certificate(text)
    if (found.length > 0) return found
    mistakes.push(`${CERTIFICATES} must name a PEM file with certificates in it`)
  } catch (error) {
    mistakes.push(
      `${CERTIFICATES} cannot be read (${readCode(error)}): it must name a PEM file of certificates`,
    )
  }
  return []
}
