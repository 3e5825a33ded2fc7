import { isRecord } from '../../json.ts'
import type { Token } from './tokens.ts'

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string'
export const isName: Check = (value) => typeof value === 'string' && value !== ''
export const isAmount: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0
const isOptionalAmount: Check = (value) => value === undefined || isAmount(value)
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText)
const isHash: Check = (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
const isPrevious: Check = (value) => isRecord(value) && isHash(value.hash) && isAmount(value.until)

const CHECKS: readonly (readonly [keyof Token | 'creditedMicros', Check])[] = [
  ['id', isName],
  ['hash', isHash],
  ['prefix', isText],
  ['type', (value) => value === 'user' || value === 'admin'],
  ['user', isName],
  ['name', isText],
  ['models', isTexts],
  ['createdAt', isAmount],
  ['expiresAt', isOptionalAmount],
  ['revokedAt', isOptionalAmount],
  ['disabledAt', isOptionalAmount],
  ['previous', (value) => value === undefined || (Array.isArray(value) && value.every(isPrevious))],
  ['addresses', (value) => value === undefined || isTexts(value)],
  ['requestsPerMinute', isOptionalAmount],
  ['requestsPerDay', isOptionalAmount],
  ['requestsInFlight', isOptionalAmount],
  ['creditedMicros', isAmount],
]

/** The first field that no token may have like this; undefined when all are right. */
export function badFieldOf(value: unknown): string | undefined {
  if (!isRecord(value)) return 'the whole record'
  return CHECKS.find(([field, isRight]) => !isRight(value[field]))?.[0]
}
