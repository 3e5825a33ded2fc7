import * as v from 'valibot'
import { misfitOf, plainName } from '../stores/contracts/names.ts'
import { OPERATION_ID } from '../stores/contracts/token-changes.ts'
import { SERVICE_NAME } from '../stores/contracts/tokens.ts'

function whole(minimum: number, maximum: number) {
  return v.pipe(v.number(), v.integer(), v.minValue(minimum), v.maxValue(maximum))
}
function matching(pattern: RegExp) {
  return v.pipe(v.string(), v.regex(pattern))
}
function atMost<const T extends v.GenericSchema>(most: number, item: T) {
  return v.pipe(v.array(item), v.maxLength(most))
}

/** What people read: as it is compared, with nothing in it that cannot be seen. */
function visible(most: number) {
  return v.pipe(
    v.string(),
    v.transform(plainName),
    v.check(
      (name) => misfitOf(name) === undefined,
      ({ input }) => `must not hold ${misfitOf(input)}`,
    ),
    v.check((name) => name !== '' && [...name].length <= most, `must have from 1 to ${most} characters`),
  )
}

const limit = v.optional(whole(1, 1_000_000_000))
const time = v.optional(whole(0, 8_640_000_000_000_000))
const type = v.picklist(['user', 'admin'])

const hash = matching(/^[0-9a-f]{64}$/)
const prefix = matching(/^[A-Za-z0-9_-]{1,16}$/)
// What is an address is checked by the command and, once more, by its own reader before it is kept.
const address = matching(/^[0-9A-Fa-f:.]{2,45}(\/\d{1,3})?$/)

/** A service's name, or a path that covers its own; whether there is one is nobody's question here: routes come and go. */
const service = v.pipe(matching(SERVICE_NAME), v.maxLength(128))

/** A token to be made. Its secret stays with whoever asks: only the hash is sent. */
export const mintBody = v.strictObject({
  hash,
  prefix,
  type,
  user: visible(64),
  name: v.union([v.literal(''), visible(64)]),
  models: atMost(100, visible(128)),
  expiresAt: time,
  requestsPerMinute: limit,
  requestsPerDay: limit,
  requestsInFlight: limit,
  addresses: v.optional(atMost(100, address)),
  services: v.optional(atMost(100, service)),
  creditedMicros: whole(0, Number.MAX_SAFE_INTEGER),
})

/** Credits to give, or (below zero) to take. */
export const creditsBody = v.strictObject({
  operationId: matching(OPERATION_ID),
  micros: whole(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
})

/** A token's next secret, by its hash; the one of now is good for `overlapMs` more. */
export const secretBody = v.strictObject({ hash, prefix, overlapMs: whole(0, 31_622_400_000) })

/** What may be told of a token: neither secret nor hash. What is in the store is shown, whatever its bounds. */
export const tokenAnswer = v.object({
  id: v.string(),
  prefix: v.string(),
  type,
  user: v.string(),
  name: v.string(),
  models: v.array(v.string()),
  createdAt: v.number(),
  expiresAt: v.optional(v.number()),
  revokedAt: v.optional(v.number()),
  disabledAt: v.optional(v.number()),
  previousUntil: v.optional(v.number()),
  lastUsedAt: v.optional(v.number()),
  addresses: v.optional(v.array(v.string())),
  services: v.optional(v.array(v.string())),
  requestsPerMinute: v.optional(v.number()),
  requestsPerDay: v.optional(v.number()),
  requestsInFlight: v.optional(v.number()),
  credits: v.object({
    creditedMicros: v.number(),
    balanceMicros: v.number(),
    heldMicros: v.number(),
    chargedMicros: v.number(),
  }),
})

export const tokenParams = v.object({ id: v.pipe(v.string(), v.minLength(1), v.maxLength(64)) })

/** A token as an operator sees it. */
export type TokenView = v.InferOutput<typeof tokenAnswer>
