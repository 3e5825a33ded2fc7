import { spawnSync } from 'node:child_process'
import type { KeyObject } from 'node:crypto'
import jsonwebtoken from 'jsonwebtoken'
import t from 'tap'
import { checkBy, EC, EC_384, ED, jwkOf, NOW_S, RSA, SECRET, verdictOf } from '../support/jwt.ts'

const CHECK = checkBy({
  secret: SECRET,
  publicKey: JSON.stringify({ keys: [RSA, EC, EC_384, ED].map(({ publicKey }) => jwkOf(publicKey)) }),
  issuer: ['https://id.example'],
  audience: ['gateway'],
})
const CLAIMS = {
  sub: 'user-1',
  iss: 'https://id.example',
  aud: ['web', 'gateway'],
  iat: NOW_S,
  exp: NOW_S + 60,
}

const KEYS = [
  ['HS256', undefined],
  ['RS256', RSA.privateKey],
  ['RS512', RSA.privateKey],
  ['PS256', RSA.privateKey],
  ['PS384', RSA.privateKey],
  ['ES256', EC.privateKey],
  ['ES384', EC_384.privateKey],
] as const

function pkcs8(key: KeyObject): string {
  return String(key.export({ type: 'pkcs8', format: 'pem' }))
}

t.test('what jsonwebtoken signs lets people in', async (t) => {
  for (const [algorithm, key] of KEYS) {
    const sign = (claims: object) =>
      jsonwebtoken.sign(claims, key === undefined ? SECRET : pkcs8(key), { algorithm, keyid: 'any-key' })
    t.equal(await verdictOf(CHECK, sign(CLAIMS)), 'ok', algorithm)
    t.equal(await verdictOf(CHECK, sign({ ...CLAIMS, exp: NOW_S - 60 })), 'expired', algorithm)
  }
  const unsigned = jsonwebtoken.sign(CLAIMS, '', { algorithm: 'none' })
  t.equal(await verdictOf(CHECK, unsigned), 'algorithm')
})

const SCRIPT = `
import json, jwt, sys
ask = json.load(sys.stdin)
print(json.dumps([jwt.encode(ask["claims"], key, algorithm=name) for name, key in ask["keys"]]))
`
const hasPython = spawnSync('python3', ['-c', 'import jwt, cryptography']).status === 0

const skip = hasPython ? false : 'PyJWT is missing: pip install "pyjwt[crypto]"'

t.test('what PyJWT signs lets people in', { skip }, async (t) => {
  const keys = [...KEYS, ['EdDSA', ED.privateKey] as const]
  const sign = (claims: object): string[] => {
    const input = JSON.stringify({
      claims,
      keys: keys.map(([name, key]) => [name, key === undefined ? SECRET : pkcs8(key)]),
    })
    return JSON.parse(spawnSync('python3', ['-c', SCRIPT], { input }).stdout.toString())
  }
  const [good, old] = [sign(CLAIMS), sign({ ...CLAIMS, exp: NOW_S - 60 })]
  for (const [index, [name]] of keys.entries()) {
    t.equal(await verdictOf(CHECK, good[index] ?? ''), 'ok', name)
    t.equal(await verdictOf(CHECK, old[index] ?? ''), 'expired', name)
  }
})
