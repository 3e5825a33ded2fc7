import type { Person } from './caller.ts'

/** What the operator says of JWTs. */
export interface JwtRules {
  /** HS256, and nothing else: the secret of now, and the one before it while tokens signed by it run out. */
  secrets: readonly string[]
  /** PEM (SPKI or X.509), a JWK or a JWKS, as text. */
  publicKey?: string | undefined
  jwksUrl?: string | undefined
  /** Empty: any. */
  issuers: readonly string[]
  audiences: readonly string[]
  clockToleranceS: number
}

export interface JwtCheckOptions {
  /** What is in force: another object where anything of it has changed. Undefined: no JWT is taken. */
  rules(): JwtRules | undefined
  /** The text behind a URL, over the gateway's way out; rejects for what is no 200, too large or too late. */
  fetchText(url: string): Promise<string>
  /** Told when keys could not be fetched, and when they can be again. */
  report?(problem: Error | undefined): void
  now?(): number
}

/** Why a JWT lets nobody in; for the log, and for the words of the answer. */
export interface JwtRefusal {
  kind: 'refused'
  reason: string
}

/** One per app. */
export interface JwtCheck {
  /** At once for a token that was seen before. Throws `store_unavailable` while there are no keys to check by. */
  verify(text: string): Person | JwtRefusal | Promise<Person | JwtRefusal>
}

export function createJwtCheck(_options: JwtCheckOptions): JwtCheck {
  return { verify: () => ({ kind: 'refused', reason: 'none' }) }
}
