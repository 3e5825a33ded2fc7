import { createHmac, hash, scryptSync } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { ServiceRoute, ServiceTarget } from '../../config/catalog/service-routes.ts'

/** So many characters of a tag: 96 bits, of which nobody finds two alike. */
const TAG_LENGTH = 16
const SALT = 'sticky targets of services'

/** What keeps a request with one target: the name that its client was given for it, else a number to choose by. */
export interface Stay {
  tag?: string | undefined
  seed?: number | undefined
}

export const NO_STAY: Stay = {}

type Sticky = NonNullable<ServiceRoute['sticky']>

/** Where a request wants to stay: a cookie of the gateway's tells before one of the service's own. */
export function readStay(sticky: Sticky, headers: IncomingHttpHeaders): Stay {
  if (sticky.in === 'header') return { seed: seedOf(headers[sticky.name]) }
  const { cookie } = headers
  if (cookie === undefined) return NO_STAY
  return { tag: readCookie(cookie, cookieName(sticky)), seed: seedOf(readCookie(cookie, sticky.name)) }
}

/** Whether the client has the cookie that says so already. */
export function hasCookie(sticky: Sticky, { cookie }: IncomingHttpHeaders, tag: string): boolean {
  return cookie !== undefined && readCookie(cookie, cookieName(sticky)) === tag
}

/** It stands beside the service's own of the name given, and never takes its place. */
function cookieName({ name }: Sticky): string {
  return `gateway-${name}`
}

function seedOf(value: string | string[] | undefined): number | undefined {
  return value === undefined || value === '' ? undefined : numberOf(String(value))
}

/** The value of the first cookie of this name (RFC 6265, section 4.2). */
function readCookie(header: string, name: string): string | undefined {
  for (let at = 0; at < header.length; ) {
    const next = header.indexOf(';', at)
    const end = next === -1 ? header.length : next
    const equals = header.indexOf('=', at)
    if (equals !== -1 && equals < end && header.slice(at, equals).trim() === name)
      return header.slice(equals + 1, end).trim()
    at = end + 1
  }
  return undefined
}

/** The same on each replica and after each start: 32 bits of a digest. */
export function numberOf(text: string): number {
  return hash('sha256', text, 'buffer').readUInt32BE()
}

/**
 * How much a target is the one for `seed`: the highest wins (rendezvous hashing), so a target that goes moves none but
 * its own. `own` is the target's number. The mixing is MurmurHash3's last step.
 */
export function weigh(seed: number, own: number): number {
  let mixed = seed ^ own
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/** Where a target leads, as one text. */
export function addressOf({ origin, basePath }: ServiceTarget): string {
  return origin + basePath
}

/**
 * What cookies call a target: of its address and not its place in a list, so each replica knows it, and keyed, so nobody
 * finds the address by trying. The key is costly to derive, so neither is a short secret found by trying.
 */
export function createTagger(secret: () => string): (target: ServiceTarget) => string {
  const tags = new Map<string, string>()
  let known: { secret: string; key: Buffer } | undefined
  return (target) => {
    const present = secret()
    if (known?.secret !== present) {
      known = { secret: present, key: scryptSync(present, SALT, 32) }
      tags.clear()
    }
    const address = addressOf(target)
    const tag =
      tags.get(address) ??
      createHmac('sha256', known.key).update(address).digest('base64url').slice(0, TAG_LENGTH)
    tags.set(address, tag)
    return tag
  }
}

/**
 * The line `set-cookie` that names a target. A page of another site, which the route lets in with its cookies, keeps and
 * sends it only as `SameSite=None`; it says nothing of who somebody is, so that gives nobody a right.
 */
export function writeCookie(
  sticky: Sticky,
  { prefix, cors }: ServiceRoute,
  { tag, isSecure }: { tag: string; isSecure: boolean },
): string {
  const line = `${cookieName(sticky)}=${tag}; Path=${prefix || '/'}; HttpOnly`
  if (!isSecure) return `${line}; SameSite=Lax`
  return `${line}; Secure; SameSite=${cors?.credentials ? 'None; Partitioned' : 'Lax'}`
}
