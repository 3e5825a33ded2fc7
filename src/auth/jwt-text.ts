import { isRecord, type JsonRecord } from '../json.ts'

/** Why a JWT lets nobody in: for the log, and for the words of the answer. */
export type JwtReason =
  | 'unconfigured'
  | 'size'
  | 'form'
  | 'header'
  | 'type'
  | 'critical'
  | 'nested'
  | 'algorithm'
  | 'key'
  | 'signature'
  | 'payload'
  | 'subject'
  | 'expiry'
  | 'expired'
  | 'not_yet'
  | 'issuer'
  | 'audience'
  | 'claims_size'

/** What a JWT's header says of how to check it. Whatever else stands in it (`jwk`, `jku`, `x5u`, `x5c`) nobody looks at. */
export interface JwtHead {
  alg: string
  kid: string | undefined
}

/** Longer ones would fill the head of each request to a service. */
export const MOST_JWT_CHARACTERS = 8192

const THREE_PARTS = /^[\w-]+\.[\w-]+\.[\w-]*$/
/** With or without `application/` (RFC 7515 section 4.1.9); `at+jwt` is an access token of RFC 9068. */
const TYPES: readonly unknown[] = ['jwt', 'at+jwt', undefined]
/** Members of a JWE's header (RFC 7516), or of a JWS whose payload is no JSON. */
const OF_OTHERS = ['enc', 'zip', 'epk', 'apu', 'apv'] as const

/** Whether a credential can be nothing but a JWT: three parts of base64url. */
export function isJwt(text: string): boolean {
  return THREE_PARTS.test(text)
}

/** Reads what comes before the signature is checked, strictly: two readers of this token read the same. */
export function readJwtHead(text: string): JwtHead | JwtReason {
  if (text.length > MOST_JWT_CHARACTERS) return 'size'
  if (!isJwt(text)) return 'form'
  const parts = text.split('.')
  const [header = '', payload = '', signature = ''] = parts
  if (!isCanonical(header) || !isCanonical(payload) || !isCanonical(signature)) return 'form'
  const head = readObject(header)
  if (head === undefined) return 'header'
  return checkHead(head)
}

function checkHead(head: JsonRecord): JwtHead | JwtReason {
  const { alg, kid, typ, cty, crit, b64 } = head
  // No extension is understood here, so that any that must be is one too many (RFC 7515 section 4.1.11).
  if (crit !== undefined || b64 !== undefined) return 'critical'
  if (OF_OTHERS.some((name) => head[name] !== undefined)) return 'nested'
  if (cty !== undefined && (typeof cty !== 'string' || plainType(cty) === 'jwt')) return 'nested'
  if (!TYPES.includes(typeof typ === 'string' ? plainType(typ) : typ)) return 'type'
  if (typeof alg !== 'string') return 'algorithm'
  if (kid !== undefined && typeof kid !== 'string') return 'header'
  return { alg, kid }
}

function plainType(type: string): string {
  return type.toLowerCase().replace(/^application\//, '')
}

/** Whether these are the very letters that its bytes are written in: otherwise one token had several texts. */
function isCanonical(part: string): boolean {
  return Buffer.from(part, 'base64url').toString('base64url') === part
}

/** The text of a payload; undefined where it is no UTF-8. */
export function readPayloadText(jwt: string): string | undefined {
  const [, payload = ''] = jwt.split('.')
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      Buffer.from(payload, 'base64url'),
    )
  } catch {
    return undefined
  }
}

/** A JSON object in which no member stands twice: readers differ in which of two they believe. */
export function readObjectText(text: string): JsonRecord | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isRecord(value) && countMembers(value) === countNames(text) ? value : undefined
  } catch {
    return undefined
  }
}

function readObject(part: string): JsonRecord | undefined {
  const bytes = Buffer.from(part, 'base64url')
  // A header of other letters than ASCII's is possible, and nobody's.
  return bytes.every((byte) => byte < 0x80) ? readObjectText(bytes.toString('latin1')) : undefined
}

function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const inside = Object.values(value)
  let count = Array.isArray(value) ? 0 : inside.length
  for (const each of inside) count += countMembers(each)
  return count
}

/** Only in JSON that was parsed: each text before a colon is a member's name. */
function countNames(text: string): number {
  let count = 0
  for (const [, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*(:?)/g)) if (colon === ':') count += 1
  return count
}
