import { KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, compactVerify } from 'jose'
import t from 'tap'
import { importSecret, readJwks, readPublicKeys } from '../../src/config/jwt-keys.ts'
import { DETACHED, JOSE_VECTORS, type JoseVector, UNSECURED } from '../support/jose-vectors.ts'
import { checkBy, verdictOf } from '../support/jwt.ts'

/** When the tokens of RFC 7515 were good. */
const THEN_MS = 1_300_819_000_000

async function keyOf({ jwk }: JoseVector) {
  if (jwk.k === undefined) return readPublicKeys(JSON.stringify(jwk))[0]
  return importSecret(Buffer.from(jwk.k, 'base64url'))
}

/** Another signature of the same length: its first byte is another one. */
function spoilt(jwt: string): string {
  const [header, payload, signature = ''] = jwt.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  bytes[0] = (bytes[0] ?? 0) ^ 1
  return `${header}.${payload}.${bytes.toString('base64url')}`
}

for (const vector of JOSE_VECTORS) {
  t.test(`${vector.name}: its own key verifies it, and no other signature`, async (t) => {
    const key = await keyOf(vector)
    if (key === undefined) throw new Error('no key')
    const options = { algorithms: [...key.algorithms] }
    const { payload } = await compactVerify(vector.jwt, key.key, options)
    t.equal(Buffer.from(payload).toString(), vector.payload)
    await t.rejects(compactVerify(spoilt(vector.jwt), key.key, options), {
      code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    })
  })
}

t.test(
  'a signature of the RFCs that is right gets as far as its claims, a spoilt one does not',
  async (t) => {
    for (const { name, jwk, jwt, payload } of JOSE_VECTORS) {
      if (jwk.kty === 'oct') continue
      const check = checkBy({ publicKey: JSON.stringify(jwk) }, { now: () => THEN_MS })
      // Those of RFC 7515 say who signed them, but not whose they are; the rest are no JSON.
      const expected = payload.startsWith('{') ? 'subject' : 'payload'
      t.equal(await verdictOf(check, jwt), expected, name)
      t.equal(await verdictOf(check, spoilt(jwt)), 'signature', name)
    }
  },
)

t.test('what the RFCs leave unsigned or detached lets nobody in', async (t) => {
  const check = checkBy({ secret: 'x'.repeat(32) }, { now: () => THEN_MS })
  t.equal(await verdictOf(check, UNSECURED), 'algorithm')
  t.equal(await verdictOf(check, DETACHED), 'form')
})

/** RFC 7517 A.1: one key for encryption, one for signatures, whose thumbprint RFC 7638 says. */
const EXAMPLE_SET = {
  keys: [
    {
      kty: 'EC',
      crv: 'P-256',
      x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
      y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
      use: 'enc',
      kid: '1',
    },
    {
      kty: 'RSA',
      n: '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw',
      e: 'AQAB',
      alg: 'RS256',
      kid: '2011-04-29',
    },
  ],
}

t.test('the set of RFC 7517 gives the one key that is for signatures, for its own algorithm', async (t) => {
  const keys = readJwks(JSON.stringify(EXAMPLE_SET))
  t.match(keys, [{ kid: '2011-04-29', algorithms: ['RS256'] }])
  t.equal(keys.length, 1)
  const jwk = keys[0]?.key instanceof KeyObject ? keys[0].key.export({ format: 'jwk' }) : {}
  t.equal(await calculateJwkThumbprint(jwk), 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
})
