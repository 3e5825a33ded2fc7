import { compactVerify } from 'jose'
import t from 'tap'
import { importSecret, readPublicKeys } from '../../src/config/jwt-keys.ts'
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
