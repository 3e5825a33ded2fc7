import { isRecord } from '../../json.ts'
import type { Token } from './tokens.ts'

type Check = (value: unknown) => boolean

function isText(value: unknown): boolean {
  return typeof value === 'string'
}
export function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}
export function isAmount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
function isOptionalAmount(value: unknown): boolean {
  return value === undefined || isAmount(value)
}
function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText)
}
function isHash(value: unknown): boolean {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}
function isPrevious(value: unknown): boolean {
  return isRecord(value) && isHash(value.hash) && isAmount(value.until)
}

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
  ['services', (value) => value === undefined || isTexts(value)],
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
