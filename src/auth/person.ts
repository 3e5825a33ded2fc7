import type { Person } from './caller.ts'
import { leaseUntil } from './client.ts'
import type { JwtReason } from './jwt-text.ts'

const MOST_SUBJECT_CHARACTERS = 255
/** What a service's own head may hold of it: many servers take 16 KiB for all of theirs. */
const MOST_CLAIMS_CHARACTERS = 8192

export interface VerifiedClaims {
  claims: Readonly<Record<string, unknown>>
  /** The payload as it stands in the token. */
  text: string
  toleranceMs: number
  at: number
}

/** Who it is whose JWT is verified, or what a verified JWT lacks. */
export function readPerson({ claims, text, toleranceMs, at }: VerifiedClaims): Person | JwtReason {
  const { sub, iss = '', exp, iat, nbf } = claims
  if (typeof sub !== 'string' || sub === '' || sub.length > MOST_SUBJECT_CHARACTERS || !sub.isWellFormed())
    return 'subject'
  if (typeof iss !== 'string') return 'issuer'
  if (!isTime(exp)) return 'expiry'
  for (const begin of [iat, nbf]) {
    if (begin === undefined) continue
    if (!isTime(begin)) return 'payload'
    if (begin * 1000 > at + toleranceMs) return 'not_yet'
  }
  const userClaims = writeAscii(text)
  if (userClaims.length > MOST_CLAIMS_CHARACTERS) return 'claims_size'
  const expiresAt = exp * 1000 + toleranceMs
  const lease = leaseUntil(expiresAt)
  return { kind: 'person', id: sub, issuer: iss, claims, userId: writeId(sub), userClaims, expiresAt, lease }
}

/** `1e999` is a number to JSON's readers, and would never come. */
function isTime(value: unknown): value is number {
  return Number.isFinite(value)
}

/** Percent-encoded but for what a header may hold and no reader takes for something else: reversible, so no two become one. */
function writeId(sub: string): string {
  return sub.replace(/[^!#$&'()*+./0-9:;<=>?@A-Z[\]^_`a-z{|}~-]+/gu, encodeURIComponent)
}

/** The same JSON in ASCII: numbers keep their digits. Blanks of other kinds stand in JSON only between its parts. */
function writeAscii(json: string): string {
  return json.replace(/[\t\n\r]/g, ' ').replace(/[^\x20-\x7e]/g, (unit) => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}
