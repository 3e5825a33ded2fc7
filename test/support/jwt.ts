import { constants, createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto'
import { createJwtCheck, type JwtCheck, type JwtCheckOptions } from '../../src/auth/jwt.ts'
import type { JwtSettings } from '../../src/config/env/service-secrets.ts'
import type { JsonRecord } from '../../src/json.ts'

/** When the tokens of the tests are looked at, in seconds since 1970. */
export const NOW_S = 1_800_000_000
export const SECRET = 'a secret of thirty-two characters'

export const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const EC = generateKeyPairSync('ec', { namedCurve: 'P-256' })
export const EC_384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
export const EC_521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
export const ED = generateKeyPairSync('ed25519')

export function pemOf(key: KeyObject): string {
  return String(key.export({ type: 'spki', format: 'pem' }))
}

export function jwkOf(key: KeyObject, more: object = {}): JsonRecord {
  return { ...key.export({ format: 'jwk' }), ...more }
}

export function encode(part: object | string | Uint8Array): string {
  const isText = typeof part === 'string' || part instanceof Uint8Array
  return Buffer.from(isText ? part : JSON.stringify(part)).toString('base64url')
}

/** Claims that let somebody in. */
export const CLAIMS = { sub: 'user-1', iat: NOW_S - 60, exp: NOW_S + 600 }

/** By Node's own functions, and not by the library that is tested. */
export function signatureOf(input: string, algorithm: string, key: KeyObject | string): Buffer {
  const bits = algorithm.slice(2)
  if (typeof key === 'string') return createHmac(`sha${bits}`, key).update(input).digest()
  const bytes = Buffer.from(input)
  if (algorithm === 'EdDSA' || algorithm === 'Ed25519') return signBytes(null, bytes, key)
  const hash = `sha${bits}`
  if (algorithm.startsWith('ES')) return signBytes(hash, bytes, { key, dsaEncoding: 'ieee-p1363' })
  if (algorithm.startsWith('RS')) return signBytes(hash, bytes, key)
  const padding = constants.RSA_PKCS1_PSS_PADDING
  return signBytes(hash, bytes, { key, padding, saltLength: Number(bits) / 8 })
}

export interface JwtParts {
  header?: object | string
  claims?: object | string | Uint8Array
  /** With what it is signed, whatever the header says. */
  algorithm?: string
  key?: KeyObject | string
}

/** A JWT of these parts: HS256 and good where nothing else is said. */
export function makeJwt({
  header,
  claims = CLAIMS,
  algorithm = 'HS256',
  key = SECRET,
}: JwtParts = {}): string {
  const input = `${encode(header ?? { alg: algorithm, typ: 'JWT' })}.${encode(claims)}`
  return `${input}.${signatureOf(input, algorithm, key).toString('base64url')}`
}

/** A check by these rules at `NOW_S`. */
export function checkBy(rules: Partial<JwtSettings>, more: Partial<JwtCheckOptions> = {}): JwtCheck {
  const inForce: JwtSettings = { toleranceS: 30, ...rules }
  return createJwtCheck({
    rules: () => inForce,
    fetchText: () => Promise.reject(new Error('nothing is fetched here')),
    now: () => NOW_S * 1000,
    ...more,
  })
}

/** `ok`, or why not. */
export async function verdictOf(check: JwtCheck, jwt: string): Promise<string> {
  const verdict = await check.verify(jwt)
  return verdict.kind === 'person' ? 'ok' : verdict.reason
}
