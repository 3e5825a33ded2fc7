import { isRecord } from '../json.ts'

type Claims = Readonly<Record<string, unknown>>

/** Words with blanks between (RFC 6749 section 3.3); everywhere else a blank is a letter like others. */
const OF_WORDS = new Set(['scope', 'scp'])

/** Whether a person has one of the values of each claim that a route wants. */
export function hasClaims(claims: Claims, wanted: Readonly<Record<string, readonly string[]>>): boolean {
  for (const name of Object.keys(wanted)) {
    const has = valuesOf(findClaim(claims, name), OF_WORDS.has(name))
    if (!wanted[name]?.some((value) => has.includes(value))) return false
  }
  return true
}

/** A claim by its name; else by the way to it through objects, as `realm_access.roles` of Keycloak. */
function findClaim(claims: Claims, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name]
  let inside: unknown = claims
  for (const step of name.split('.')) {
    if (!isRecord(inside) || !Object.hasOwn(inside, step)) return undefined
    inside = inside[step]
  }
  return inside
}

function valuesOf(claim: unknown, isOfWords: boolean): string[] {
  if (Array.isArray(claim))
    return claim.flatMap((each: unknown) => valuesOf(Array.isArray(each) ? undefined : each, false))
  if (typeof claim === 'string') return isOfWords ? claim.split(' ').filter((word) => word !== '') : [claim]
  return typeof claim === 'number' || typeof claim === 'boolean' ? [String(claim)] : []
}
