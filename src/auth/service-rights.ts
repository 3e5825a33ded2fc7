import type { ServiceRoute } from '../config/catalog/service-routes.ts'
import { isBelow } from '../config/public-paths.ts'
import { insufficientRights } from '../errors.ts'
import type { Token } from '../stores/contracts/tokens.ts'
import type { Person } from './caller.ts'
import { hasClaims } from './claims.ts'

/** Throws for a token that may not call this route. */
export function checkTokenRights({ name, prefix, tokenTypes }: ServiceRoute, token: Token): void {
  if (tokenTypes !== undefined && !tokenTypes.includes(token.type))
    throw insufficientRights(`Tokens of the type "${token.type}" may not use this service.`)
  const { services } = token
  if (services === undefined || services.length === 0) return
  if (services.some((one) => one === name || isPathOf(one, prefix))) return
  throw insufficientRights('This token may not use this service. Use one that has it on its list.')
}

/** Whether a path of a token's list covers a route. */
function isPathOf(path: string, prefix: string): boolean {
  return path.startsWith('/') && isBelow(prefix, path)
}

const TOO_FEW = 'Your JWT lacks a right that this service asks for.'

/** Throws for somebody whose claims are not those that the route wants. */
export function checkPersonRights({ claims }: ServiceRoute, person: Person): void {
  if (hasClaims(person.claims, claims)) return
  const challenge = `Bearer error="insufficient_scope", error_description="${TOO_FEW}"`
  throw insufficientRights(TOO_FEW, { challenge })
}
