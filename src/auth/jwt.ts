import type { JwtSettings } from '../config/env/service-secrets.ts'
import type { Person } from './caller.ts'
import { Jwks } from './jwks.ts'
import { JwtVerifier, type Refused } from './jwt-verifier.ts'

export interface JwtCheckOptions {
  /** What is in force at this moment. Undefined: no JWT is taken. */
  rules(): JwtSettings | undefined
  /** The text behind a URL, over the gateway's way out; rejects for what is no 200, too large or too late. */
  fetchText(url: string): Promise<string>
  /** Told when keys cannot be read or fetched, and with nothing when they can be fetched again. */
  report?(problem: Error | undefined): void
  /** Milliseconds since 1970. */
  now?(): number
  monotonicMs?(): number
}

/** One per app. */
export interface JwtCheck {
  /** At once for a token that was seen before. Throws `store_unavailable` while there are no keys to check by. */
  verify(text: string): Person | Refused | Promise<Person | Refused>
}

/** Verifies JWTs by the rules in force: a secret or key that is replaced lets nobody in from the next request on. */
export function createJwtCheck({
  rules,
  fetchText,
  report,
  now = Date.now,
  monotonicMs = () => performance.now(),
}: JwtCheckOptions): JwtCheck {
  let seen: JwtSettings | undefined
  let text = ''
  let jwks: Jwks | undefined
  let verifier: JwtVerifier | undefined
  const follow = (asked: JwtSettings): JwtVerifier => {
    seen = asked
    const before = text
    text = JSON.stringify(asked)
    // The settings were read again, and say the same of JWTs.
    if (verifier !== undefined && text === before) return verifier
    const { jwksUrl: url } = asked
    // A set that is there stays: its server may be away in the very moment when something else changes.
    if (url !== jwks?.url)
      jwks = url === undefined ? undefined : new Jwks({ url, fetchText, report, now: monotonicMs })
    verifier = new JwtVerifier({ rules: asked, jwks, report })
    return verifier
  }
  return {
    verify(jwt) {
      const asked = rules()
      if (asked === undefined) return { kind: 'refused', reason: 'unconfigured' }
      const inForce = asked === seen && verifier !== undefined ? verifier : follow(asked)
      return inForce.verify(jwt, now())
    },
  }
}
