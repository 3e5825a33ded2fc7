import { createPublicKey, type KeyObject, type webcrypto } from 'node:crypto'
import { isRecord, type JsonRecord, parseJson } from '../json.ts'

/** A key that signatures are checked by, and the algorithms that its kind leaves: no token chooses another one. */
export interface VerifyKey {
  /** Undefined: it stands for every `kid`. */
  kid: string | undefined
  algorithms: readonly string[]
  key: KeyObject | webcrypto.CryptoKey
}

const LEAST_RSA_BITS = 2048
/** A check by a longer one costs so much that it is a way to stop a server. */
const MOST_RSA_BITS = 8192
const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const CURVES: Readonly<Record<string, string>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
}
const MOST_KEYS = 64

/** HMAC with SHA-256, and nothing else: what is published cannot be a secret. */
export async function importSecret(bytes: Uint8Array<ArrayBuffer>): Promise<VerifyKey> {
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', bytes, hmac, false, ['verify'])
  return { kid: undefined, algorithms: ['HS256'], key }
}

/** The keys of `JWT_PUBLIC_KEY`: PEM (one or several), a JWK, or a JWKS. Throws an error that says what is wrong. */
export function readPublicKeys(text: string): VerifyKey[] {
  const plain = text.replaceAll('\\n', '\n').trim()
  if (!plain.startsWith('{')) return readPems(plain)
  const value = parseJson(plain)
  if (!isRecord(value)) throw new Error('it is no JSON')
  const { keys } = value
  if (keys === undefined) return [readJwk(value)]
  if (!Array.isArray(keys) || keys.length === 0) throw new Error('its "keys" is no list of keys')
  return keys.map(readJwk)
}

/** The keys of a JWKS that was fetched; those that nobody should trust are left out. Throws where none is left. */
export function readJwks(text: string): VerifyKey[] {
  const value = parseJson(text)
  if (!isRecord(value) || !Array.isArray(value.keys)) throw new Error('it is no JWKS')
  const usable = value.keys.slice(0, MOST_KEYS).flatMap((jwk: unknown) => {
    try {
      return [readJwk(jwk)]
    } catch {
      return []
    }
  })
  if (usable.length === 0) throw new Error('it holds no key that may check a signature')
  return usable
}

const PEM = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g

function readPems(text: string): VerifyKey[] {
  const found = Array.from(text.matchAll(PEM), ([pem, label = '']) => {
    if (label.includes('PRIVATE')) throw new Error('it holds a private key: give the public one')
    return buildKey(createPublicKey(pem), undefined)
  })
  if (found.length === 0) throw new Error('it holds no PEM and no JWK')
  return found
}

function readJwk(jwk: unknown): VerifyKey {
  if (!isRecord(jwk)) throw new Error('a key is no object')
  const { kid, alg, use, key_ops: uses, kty } = jwk
  if (kty === 'oct') throw new Error('a secret is no public key')
  // Whoever can read the set could sign with it.
  if (jwk.d !== undefined || jwk.priv !== undefined)
    throw new Error('it holds a private key: give the public one')
  if (use !== undefined && use !== 'sig') throw new Error('a key is not meant for signatures')
  if (uses !== undefined && !(Array.isArray(uses) && uses.includes('verify')))
    throw new Error('a key is not meant to verify')
  if (kid !== undefined && typeof kid !== 'string') throw new Error('"kid" is no text')
  const key = buildKey(createPublicKey({ key: publicPart(jwk), format: 'jwk' }), kid)
  if (alg === undefined) return key
  const algorithms = key.algorithms.filter((name) => name === alg)
  if (algorithms.length === 0) throw new Error('"alg" is none that this key can check')
  return { ...key, algorithms }
}

/** Whatever else stands beside it (`x5c`, `key_ops`) says nothing of the key itself. */
function publicPart({ kty, n, e, crv, x, y }: JsonRecord): Record<string, unknown> {
  return { kty, n, e, crv, x, y }
}

function buildKey(key: KeyObject, kid: string | undefined): VerifyKey {
  return { kid, algorithms: algorithmsOf(key), key }
}

function algorithmsOf(key: KeyObject): string[] {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details = {} } = key
  if (type === 'ed25519') return ['EdDSA', 'Ed25519']
  if (type === 'ec') {
    const algorithm = CURVES[details.namedCurve ?? '']
    if (algorithm === undefined) throw new Error('its curve is none of P-256, P-384 and P-521')
    return [algorithm]
  }
  // Such a key can be used by no Web Crypto; nobody's server of keys has one.
  if (type === 'rsa-pss')
    throw new Error('its RSA key is bound to PSS: give it as a plain one, which checks PS256 too')
  if (type !== 'rsa') throw new Error('it is no RSA, EC or Ed25519 key')
  const { modulusLength: bits = 0, publicExponent = 0n } = details
  if (bits < LEAST_RSA_BITS || bits > MOST_RSA_BITS)
    throw new Error(`an RSA key must have from ${LEAST_RSA_BITS} to ${MOST_RSA_BITS} bits`)
  // With the exponent 1 everybody can sign.
  if (publicExponent < 3n || publicExponent % 2n === 0n) throw new Error('the exponent of an RSA key is none')
  return RSA
}
