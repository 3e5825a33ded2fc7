import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { generate } from 'selfsigned'
import t from 'tap'
import { isStillUsable } from '../../src/auth/client.ts'
import type { JwtSettings } from '../../src/config/env/service-secrets.ts'
import {
  CLAIMS,
  checkBy,
  EC,
  EC_384,
  EC_521,
  ED,
  jwkOf,
  makeJwt,
  NOW_S,
  pemOf,
  RSA,
  SECRET,
  verdictOf,
} from '../support/jwt.ts'

t.test('each kind of key checks its own algorithms, and no other one', async (t) => {
  const kinds = [
    { keys: RSA, algorithms: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] },
    { keys: EC, algorithms: ['ES256'] },
    { keys: EC_384, algorithms: ['ES384'] },
    { keys: EC_521, algorithms: ['ES512'] },
    { keys: ED, algorithms: ['EdDSA', 'Ed25519'] },
  ]
  const all = kinds.flatMap(({ keys, algorithms }) => algorithms.map((algorithm) => ({ keys, algorithm })))
  for (const { keys, algorithms } of kinds)
    for (const publicKey of [pemOf(keys.publicKey), JSON.stringify(jwkOf(keys.publicKey))]) {
      const check = checkBy({ publicKey })
      for (const { keys: signing, algorithm } of all) {
        const expected = algorithms.includes(algorithm) ? 'ok' : 'algorithm'
        const jwt = makeJwt({ algorithm, key: signing.privateKey })
        t.equal(await verdictOf(check, jwt), expected, `${algorithm} by ${publicKey.slice(0, 30)}`)
      }
    }
})

t.test('a public key may come in every form that people have it in', async (t) => {
  const jwt = makeJwt({ algorithm: 'RS256', key: RSA.privateKey })
  const { cert, private: signing } = await generate([{ name: 'commonName', value: 'issuer' }], {
    keySize: 2048,
  })
  const spki = pemOf(RSA.publicKey)
  const other = pemOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)
  for (const publicKey of [
    spki,
    `\n${spki}\n`,
    spki.replaceAll('\n', '\\n'),
    spki.replaceAll('\n', '\r\n'),
    String(RSA.publicKey.export({ type: 'pkcs1', format: 'pem' })),
    other + spki,
    JSON.stringify(jwkOf(RSA.publicKey)),
    JSON.stringify({ keys: [jwkOf(EC.publicKey), jwkOf(RSA.publicKey, { kid: 'x' })] }),
  ])
    t.equal(await verdictOf(checkBy({ publicKey }), jwt), 'ok', publicKey.slice(0, 50))
  const byCertificate = makeJwt({
    algorithm: 'RS256',
    key: createPrivateKey(signing),
  })
  t.equal(await verdictOf(checkBy({ publicKey: cert }), byCertificate), 'ok', 'a certificate')
})

t.test('a key that nobody should trust checks nothing, and the operator is told', async (t) => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const oddCurve = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  const exchange = generateKeyPairSync('x25519')
  const bound = generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
  for (const [publicKey, words] of [
    [pemOf(weak.publicKey), /from 2048 to 8192 bits/],
    [pemOf(oddCurve.publicKey), /P-256, P-384 and P-521/],
    [pemOf(exchange.publicKey), /no RSA, EC or Ed25519 key/],
    [pemOf(bound.publicKey), /bound to PSS/],
    [JSON.stringify(jwkOf(RSA.publicKey, { e: 'AQ' })), /exponent/],
    [String(RSA.privateKey.export({ type: 'pkcs8', format: 'pem' })), /private key/],
    [JSON.stringify(jwkOf(RSA.privateKey)), /private key/],
    [JSON.stringify({ kty: 'oct', k: 'c2VjcmV0' }), /secret is no public key/],
    ['hello', /no PEM and no JWK/],
    ['{', /no JSON/],
  ] as const) {
    const told: unknown[] = []
    const check = checkBy({ publicKey }, { report: (problem) => told.push(problem) })
    const jwt = makeJwt({ algorithm: 'RS256', key: RSA.privateKey })
    await t.rejects(verdictOf(check, jwt), /cannot be checked right now/, publicKey.slice(0, 40))
    t.equal(told.length, 1)
    t.match(String(told[0]), words)
  }
})

t.test('a secret that is replaced lets nobody in from then on, but for the one kept beside it', async (t) => {
  let rules: JwtSettings | undefined = { secret: SECRET, toleranceS: 0 }
  const check = checkBy({}, { rules: () => rules })
  const [old, next] = [SECRET, 'the next secret of as many letters'].map((key) => makeJwt({ key }))
  if (old === undefined || next === undefined) throw new Error('none')
  t.equal(await verdictOf(check, old), 'ok')
  t.equal(await verdictOf(check, next), 'signature')
  rules = { secret: 'the next secret of as many letters', previousSecret: SECRET, toleranceS: 0 }
  t.equal(await verdictOf(check, old), 'ok')
  t.equal(await verdictOf(check, next), 'ok')
  rules = { secret: 'the next secret of as many letters', toleranceS: 0 }
  t.equal(await verdictOf(check, old), 'signature', 'also who was verified before')
  t.equal(await verdictOf(check, next), 'ok')
  rules = undefined
  t.equal(await verdictOf(check, next), 'unconfigured')
})

t.test('who was verified is known again at once until the token ends, who was refused is not', async (t) => {
  let nowMs = NOW_S * 1000
  const check = checkBy({ secret: SECRET, toleranceS: 30 }, { now: () => nowMs })
  const jwt = makeJwt()
  const first = await check.verify(jwt)
  t.equal(check.verify(jwt), first, 'no promise, no second look')
  const refused = makeJwt({ key: 'another' })
  await check.verify(refused)
  t.ok(check.verify(refused) instanceof Promise)
  nowMs = (CLAIMS.exp + 30) * 1000 - 1
  t.equal(await verdictOf(check, jwt), 'ok')
  nowMs += 1
  t.equal(await verdictOf(check, jwt), 'expired')
  t.equal(await verdictOf(check, jwt), 'expired', 'and by the library as well')
})

t.test(
  'no two people become one on their way to a service, and nothing of a head can be forged',
  async (t) => {
    const check = checkBy({ secret: SECRET })
    const subs = [
      'user 1',
      'user%201',
      'user%25201',
      'ü',
      '%C3%BC',
      'u\u0308',
      'a\r\nx-user-id: admin',
      'a,b',
      ' a',
      'a ',
      'a',
      '"a"',
      'auth0|5f7c8e',
      'a\u0000',
    ]
    const ids = new Set<string>()
    for (const sub of subs) {
      const person = await check.verify(makeJwt({ claims: { ...CLAIMS, sub } }))
      if (person.kind !== 'person') return t.fail(sub)
      t.match(person.userId, /^[\x21-\x7e]+$/, person.userId)
      t.equal(decodeURIComponent(person.userId), sub, 'a service can read it')
      t.match(person.userClaims, /^[\x20-\x7e]+$/)
      t.strictSame(JSON.parse(person.userClaims), { ...CLAIMS, sub })
      ids.add(person.userId)
    }
    t.equal(ids.size, subs.length)
    t.ok(ids.has('auth0|5f7c8e'), 'what is plain stays as it is')
  },
)

t.test('claims reach a service with every digit, whatever stands between them', async (t) => {
  const claims = `{\r\n\t"sub": "ü😀",\n "exp": ${NOW_S + 60}, "id": 12345678901234567890, "x": 1.10}`
  const person = await checkBy({ secret: SECRET }).verify(makeJwt({ claims }))
  if (person.kind !== 'person') return t.fail(person.reason)
  t.equal(
    person.userClaims,
    `{   "sub": "\\u00fc\\ud83d\\ude00",  "exp": ${NOW_S + 60}, "id": 12345678901234567890, "x": 1.10}`,
  )
})

t.test('what runs for a person may run until the token ends', async (t) => {
  const person = await checkBy({ secret: SECRET }).verify(
    makeJwt({ claims: { ...CLAIMS, exp: NOW_S + 0.5 } }),
  )
  if (person.kind !== 'person') return t.fail(person.reason)
  t.equal(person.expiresAt, (NOW_S + 0.5 + 30) * 1000)
  const tokens = { find: () => Promise.reject(new Error('nobody asks the store')) }
  t.equal(await isStillUsable(tokens, person.lease, person.expiresAt - 1), true)
  t.equal(await isStillUsable(tokens, person.lease, person.expiresAt), false)
  const endless = await checkBy({ secret: SECRET }).verify(makeJwt({ claims: { ...CLAIMS, exp: 1e300 } }))
  if (endless.kind !== 'person') return t.fail(endless.reason)
  t.equal(await isStillUsable(tokens, endless.lease, NOW_S * 1000), true)
})
