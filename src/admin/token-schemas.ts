import { type Static, Type } from 'typebox'

// No control characters, line separators or halves of a surrogate pair; at least one character to be seen.
const VISIBLE = '^(?=.*\\S)[^\\p{Cc}\\p{Zl}\\p{Zp}\\p{Cs}]*$'
const visible = (most: number) => Type.String({ minLength: 1, maxLength: most, pattern: VISIBLE })

const limit = Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000 }))
const micros = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const time = Type.Optional(Type.Integer({ minimum: 0, maximum: 8_640_000_000_000_000 }))
const type = Type.Union([Type.Literal('user'), Type.Literal('admin')])

const hash = Type.String({ pattern: '^[0-9a-f]{64}$' })
const prefix = Type.String({ pattern: '^[A-Za-z0-9_-]{1,16}$' })
// What is an address is checked by the command and, once more, by its own reader before it is kept.
const addresses = Type.Optional(
  Type.Array(Type.String({ pattern: '^[0-9A-Fa-f:.]{2,45}(/\\d{1,3})?$' }), { maxItems: 100 }),
)

/** A token to be made. Its secret stays with whoever asks: only the hash is sent. */
export const mintBody = Type.Object(
  {
    hash,
    prefix,
    type,
    user: visible(64),
    name: Type.Union([Type.Literal(''), visible(64)]),
    models: Type.Array(visible(128), { maxItems: 100 }),
    expiresAt: time,
    requestsPerMinute: limit,
    requestsPerDay: limit,
    requestsInFlight: limit,
    addresses,
    creditedMicros: micros,
  },
  { additionalProperties: false },
)

/** Credits to give, or (below zero) to take. */
export const creditsBody = Type.Object(
  {
    operationId: Type.String({ pattern: '^[\\x20-\\x7e]{1,128}$' }),
    micros: Type.Integer({ minimum: -Number.MAX_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }),
  },
  { additionalProperties: false },
)

/** A token's next secret, by its hash; the one of now is good for `overlapMs` more. */
export const secretBody = Type.Object(
  { hash, prefix, overlapMs: Type.Integer({ minimum: 0, maximum: 31_622_400_000 }) },
  { additionalProperties: false },
)

/** What may be told of a token: neither secret nor hash. */
export const tokenAnswer = Type.Object({
  id: Type.String(),
  prefix: Type.String(),
  type,
  user: Type.String(),
  name: Type.String(),
  models: Type.Array(Type.String()),
  createdAt: Type.Integer(),
  expiresAt: time,
  revokedAt: time,
  disabledAt: time,
  previousUntil: time,
  addresses: Type.Optional(Type.Array(Type.String())),
  requestsPerMinute: limit,
  requestsPerDay: limit,
  requestsInFlight: limit,
  credits: Type.Object({
    creditedMicros: micros,
    balanceMicros: micros,
    heldMicros: micros,
    chargedMicros: micros,
  }),
})

export const tokensAnswer = Type.Object({ tokens: Type.Array(tokenAnswer) })

export const tokenParams = Type.Object({ id: Type.String({ minLength: 1, maxLength: 64 }) })

/** A token as an operator sees it. */
export type TokenView = Static<typeof tokenAnswer>
