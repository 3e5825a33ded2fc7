import { randomBytes } from 'node:crypto'
import { invalidRequest } from '../../errors.ts'
import { type Adjustment, checkAccounts } from './accounts.ts'
import type { NewToken, Rotation, Token } from './tokens.ts'

// What is done to a token's record, whichever driver keeps it. Where nothing changes the record itself comes back.

export function makeTokenId(): string {
  return `tok_${randomBytes(9).toString('base64url')}`
}

export function revoked(token: Token, at: number): Token {
  return token.revokedAt === undefined ? { ...token, revokedAt: at } : token
}

export function disabled(token: Token, at: number): Token {
  return token.disabledAt === undefined ? { ...token, disabledAt: at } : token
}

/** Revoked is for good: whatever would make such a token of use again, or put credits on it, is refused. */
export function refuseRevoked({ revokedAt }: Token): void {
  if (revokedAt !== undefined)
    throw invalidRequest('This token is revoked for good: make a new one in its place')
}

export function enabled(token: Token): Token {
  refuseRevoked(token)
  if (token.disabledAt === undefined) return token
  const { disabledAt: _, ...kept } = token
  return kept
}

/** The secret of now stays good for a while, or none before does. */
export function rotated(token: Token, { hash, prefix, at, previousUntil }: Rotation): Token {
  if (token.hash === hash) return token
  refuseRevoked(token)
  const { previous: before = [], ...kept } = token
  const previous = [...before, { hash: token.hash, until: previousUntil }].filter(
    (one) => one.hash !== hash && one.until > at && previousUntil > at,
  )
  return { ...kept, hash, prefix, ...(previous.length > 0 ? { previous } : {}) }
}

/**
 * A new secret revives a revoked or disabled master token and ends the ones before; the credits stay what they are.
 * Of the same secret more may be shown than now: an earlier release did.
 */
export function renewed(before: Token, { hash, prefix }: NewToken): Token {
  if (before.hash === hash) return before.prefix === prefix ? before : { ...before, prefix }
  const { revokedAt: _revoked, disabledAt: _disabled, previous: _previous, ...kept } = before
  return { ...kept, hash, prefix }
}

/** 1 to 128 printable characters. */
export const OPERATION_ID = /^[\x20-\x7e]{1,128}$/

/** Throws a `RangeError` that says what is wrong. */
export function checkAdjustment({ operationId, accounts, micros }: Adjustment): void {
  checkAccounts(accounts)
  if (!OPERATION_ID.test(operationId))
    throw new RangeError('an operation id must have 1 to 128 printable characters')
  if (!Number.isSafeInteger(micros) || micros === 0)
    throw new RangeError(`micros must be a whole number of micro-credits other than 0, not ${micros}`)
}
