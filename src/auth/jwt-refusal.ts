import { type GatewayError, headersTooLarge, invalidToken } from '../errors.ts'
import type { JwtReason } from './jwt-text.ts'

const INVALID = 'The JWT is not valid. Sign in again.'

/** Only what was signed by a key of ours is told more: whoever tries signatures learns nothing. */
const TEXTS: Partial<Record<JwtReason, string>> = {
  unconfigured: 'No JWT is taken here.',
  expired: 'The JWT has expired. Sign in again, or refresh it.',
  not_yet:
    'The JWT is not valid yet. Wait a moment; if that does not help, the clock of who signed it is wrong.',
  expiry: 'The JWT does not say when it expires. Whoever signs it must set "exp", as a number of seconds.',
  subject:
    'The JWT does not say whose it is. Whoever signs it must set "sub", to a text of at most 255 characters.',
  issuer: 'The JWT is of another issuer than those that are taken here.',
  audience: 'The JWT is meant for another audience.',
}

/** The answer for a JWT that lets nobody in; why, the log alone is told in full. */
export function buildJwtRefusal(reason: JwtReason): GatewayError {
  const cause = Object.assign(new Error('JWT refused'), { code: `JWT_${reason.toUpperCase()}` })
  if (reason === 'claims_size')
    return headersTooLarge(
      'The claims of the JWT are too large to be handed on. Have fewer of them put into it.',
      {
        cause,
      },
    )
  const text = TEXTS[reason] ?? INVALID
  const description = text.replaceAll('"', "'")
  const challenge = `Bearer error="invalid_token", error_description="${description}"`
  return invalidToken(text, { cause, challenge })
}

/** Nothing was sent that could be one: nothing is wrong with it (RFC 6750 section 3.1). */
export function missingJwt(oddity: string): GatewayError {
  return invalidToken(`Send your JWT as "Authorization: Bearer <JWT>".${oddity}`)
}
