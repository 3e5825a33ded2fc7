import { type Static, Type } from 'typebox'

// No control characters, line separators or halves of a surrogate pair; at least one character to be seen.
const VISIBLE = '^(?=.*\\S)[^\\p{Cc}\\p{Zl}\\p{Zp}\\p{Cs}]*$'
const visible = (most: number) => Type.String({ minLength: 1, maxLength: most, pattern: VISIBLE })

const limit = Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000 }))
const micros = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const time = Type.Optional(Type.Integer({ minimum: 0, maximum: 8_640_000_000_000_000 }))
const type = Type.Union([Type.Literal('user'), Type.Literal('admin')])

/** A token to be made. Its secret stays with whoever asks: only the hash is sent. */
export const mintBody = Type.Object(
  {
    hash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    prefix: Type.String({ pattern: '^[A-Za-z0-9_-]{1,16}$' }),
    type,
    user: visible(64),
    name: Type.Union([Type.Literal(''), visible(64)]),
    models: Type.Array(visible(128), { maxItems: 100 }),
    expiresAt: time,
    requestsPerMinute: limit,
    requestsPerDay: limit,
    creditedMicros: micros,
  },
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
  requestsPerMinute: limit,
  requestsPerDay: limit,
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
