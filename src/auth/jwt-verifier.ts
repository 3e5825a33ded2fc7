import { hash as digest } from 'node:crypto'
import type { JWTVerifyOptions } from 'jose'
import type { JwtSettings } from '../config/env/service-secrets.ts'
import { importSecret, readPublicKeys, type VerifyKey } from '../config/jwt-keys.ts'
import { asError, codeOf, storeUnavailable } from '../errors.ts'
import type { Person } from './caller.ts'
import type { Jwks } from './jwks.ts'
import { type Verified, VerifiedJwts } from './jwt-cache.ts'
import {
  type JwtHead,
  type JwtReason,
  MOST_JWT_CHARACTERS,
  readJwtHead,
  readObjectText,
  readPayloadText,
} from './jwt-text.ts'
import { readPerson } from './person.ts'

/** A JWT that lets nobody in. */
export interface Refused {
  kind: 'refused'
  reason: JwtReason
}

export interface VerifierOptions {
  rules: JwtSettings
  jwks: Jwks | undefined
  report?: ((problem: Error | undefined) => void) | undefined
}

function refuse(reason: JwtReason): Refused {
  return { kind: 'refused', reason }
}

/** Verifies JWTs by one state of the rules, whose keys never change but for those of the JWKS. */
export class JwtVerifier {
  readonly #rules: JwtSettings
  readonly #jwks: Jwks | undefined
  readonly #own: Promise<readonly VerifyKey[]>
  readonly #verified = new VerifiedJwts()
  readonly #wanted: JWTVerifyOptions

  constructor({ rules, jwks, report }: VerifierOptions) {
    this.#rules = rules
    this.#jwks = jwks
    this.#own = readOwnKeys(rules)
    this.#own.catch((error) => report?.(asError(error)))
    const { issuer = [], audience = [], toleranceS } = rules
    this.#wanted = {
      clockTolerance: toleranceS,
      ...(issuer.length > 0 && { issuer: [...issuer] }),
      ...(audience.length > 0 && { audience: [...audience] }),
    }
  }

  verify(jwt: string, at: number): Person | Refused | Promise<Person | Refused> {
    if (jwt.length > MOST_JWT_CHARACTERS) return refuse('size')
    const hash = digest('sha256', jwt, 'base64')
    const verified = this.#verified.get(hash)
    if (verified === undefined || !this.#isCurrent(verified.generation)) return this.#verifyNew(jwt, hash, at)
    if (verified.person.expiresAt > at) return verified.person
    this.#verified.delete(hash)
    return refuse('expired')
  }

  /** Whether the keys that it was checked by are those of now. */
  #isCurrent(generation: number | undefined): boolean {
    if (generation === undefined) return true
    return this.#jwks?.ready() === undefined && this.#jwks?.generation === generation
  }

  async #verifyNew(jwt: string, hash: string, at: number): Promise<Person | Refused> {
    const head = readJwtHead(jwt)
    if (typeof head === 'string') return refuse(head)
    const ownKeys = await this.#ownKeys()
    const own = await this.#check(jwt, fitting(ownKeys, head), at)
    if (typeof own !== 'string')
      return this.#keep(hash, { person: own, generation: undefined, characters: jwt.length })
    const jwks = this.#jwks
    const isDecided = own !== 'key' && own !== 'signature'
    if (jwks === undefined || isDecided || !PUBLIC.has(head.alg)) return refuse(named(own, head, ownKeys))
    await jwks.ready()
    if (fitting(jwks.keys, head).length === 0) await jwks.again()
    const { generation, keys } = jwks
    const person = await this.#check(jwt, fitting(keys, head), at)
    if (typeof person === 'string') return refuse(named(person, head, [...ownKeys, ...keys]))
    return this.#keep(hash, { person, generation, characters: jwt.length })
  }

  #ownKeys(): Promise<readonly VerifyKey[]> {
    return this.#own.catch((cause) => {
      throw storeUnavailable('JWTs cannot be checked right now. Try again in a moment.', { cause })
    })
  }

  /** By the first key whose signature it is. */
  async #check(jwt: string, keys: readonly VerifyKey[], at: number): Promise<Person | JwtReason> {
    if (keys.length === 0) return 'key'
    const { jwtVerify } = await import('jose')
    for (const { key, algorithms } of keys) {
      const rules = { ...this.#wanted, algorithms: [...algorithms], currentDate: new Date(at) }
      try {
        await jwtVerify(jwt, key, rules)
        return this.#read(jwt, at)
      } catch (error) {
        const reason = reasonOf(error)
        if (reason !== 'signature') return reason
      }
    }
    return 'signature'
  }

  /** What `jose` does not ask of the claims. */
  #read(jwt: string, at: number): Person | JwtReason {
    const text = readPayloadText(jwt)
    const claims = text === undefined ? undefined : readObjectText(text)
    if (text === undefined || claims === undefined) return 'payload'
    return readPerson({ claims, text, at, toleranceMs: this.#rules.toleranceS * 1000 })
  }

  #keep(hash: string, verified: Verified): Person {
    this.#verified.set(hash, verified)
    return verified.person
  }
}

/** The algorithms of keys that are published. */
const PUBLIC = new Set('RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519'.split(' '))

const encoder = new TextEncoder()

async function readOwnKeys({ secret, previousSecret, publicKey }: JwtSettings): Promise<VerifyKey[]> {
  const secrets = [secret, previousSecret].filter((text) => text !== undefined)
  const published = publicKey === undefined ? [] : readPublicKeys(publicKey)
  return [...(await Promise.all(secrets.map((text) => importSecret(encoder.encode(text))))), ...published]
}

/** So many keys are tried for a token that does not say which one it means: each try costs as much as a small request. */
const MOST_TRIES = 8

/** The keys that a token may mean: its algorithm must be one of the key's own, whatever the token would like. */
function fitting(keys: readonly VerifyKey[], { alg, kid }: JwtHead): VerifyKey[] {
  const fits = (key: VerifyKey): boolean =>
    key.algorithms.includes(alg) && (kid === undefined || key.kid === undefined || key.kid === kid)
  return keys.filter(fits).slice(0, MOST_TRIES)
}

function named(reason: JwtReason, { alg }: JwtHead, keys: readonly VerifyKey[]): JwtReason {
  return reason === 'key' && !keys.some(({ algorithms }) => algorithms.includes(alg)) ? 'algorithm' : reason
}

const OF_CLAIMS: Readonly<Record<string, JwtReason>> = {
  exp: 'expiry',
  sub: 'subject',
  iss: 'issuer',
  aud: 'audience',
  nbf: 'payload',
  iat: 'payload',
}

function reasonOf(error: unknown): JwtReason {
  switch (codeOf(error)) {
    case 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED':
      return 'signature'
    case 'ERR_JWT_EXPIRED':
      return 'expired'
    case 'ERR_JWT_CLAIM_VALIDATION_FAILED': {
      const { claim, reason } = asClaimFailure(error)
      return claim === 'nbf' && reason === 'check_failed' ? 'not_yet' : (OF_CLAIMS[claim] ?? 'payload')
    }
    case 'ERR_JWT_INVALID':
      return 'payload'
    default:
      // What the library cannot make sense of is no signature by this key.
      return 'signature'
  }
}

function asClaimFailure(error: unknown): { claim: string; reason: unknown } {
  const failure = asError(error)
  return { claim: String(Reflect.get(failure, 'claim')), reason: Reflect.get(failure, 'reason') }
}
