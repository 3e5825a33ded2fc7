import { generateKeyPairSync, sign } from 'node:crypto'
import t from 'tap'
import type { JwtReason } from '../../src/auth/jwt-text.ts'
import type { JwtSettings } from '../../src/config/env/service-secrets.ts'
import {
  CLAIMS,
  checkBy,
  EC,
  ED,
  encode,
  jwkOf,
  makeJwt,
  NOW_S,
  pemOf,
  RSA,
  SECRET,
  signatureOf,
  verdictOf,
} from '../support/jwt.ts'

const PEM = pemOf(RSA.publicKey)
const KEYS = {
  keys: [
    jwkOf(RSA.publicKey, { kid: 'rsa' }),
    jwkOf(EC.publicKey, { kid: 'ec' }),
    jwkOf(ED.publicKey, { kid: 'ed' }),
  ],
}
const RULES: Partial<JwtSettings> = { secret: SECRET, publicKey: JSON.stringify(KEYS) }
const BY_PEM: Partial<JwtSettings> = { publicKey: PEM }
const NAMED: Partial<JwtSettings> = {
  ...RULES,
  issuer: ['https://id.example'],
  audience: ['gateway', 'other'],
}

const GOOD = makeJwt()
const [GOOD_HEADER = '', GOOD_PAYLOAD = '', GOOD_SIGNATURE = ''] = GOOD.split('.')
const STRANGER = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ES_INPUT = `${encode({ alg: 'ES256' })}.${encode(CLAIMS)}`
const ED_INPUT = `${encode({ alg: 'EdDSA' })}.${encode(CLAIMS)}`

function bySecret(header: object | string): string {
  return makeJwt({ header })
}
function saying(claims: object | string | Uint8Array): string {
  return makeJwt({ claims })
}
function byStranger(header: object): string {
  return makeJwt({ header: { alg: 'RS256', ...header }, algorithm: 'RS256', key: STRANGER.privateKey })
}
function unsigned(header: object | string): string {
  return `${encode(header)}.${encode(CLAIMS)}.`
}

/** The same signature with the group's order added to its second half: another number of the same meaning. */
function malleable(): string {
  const signature = signatureOf(ED_INPUT, 'EdDSA', ED.privateKey)
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const half = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`) + order
  const bytes = Buffer.from(half.toString(16).padStart(64, '0'), 'hex').reverse()
  return `${ED_INPUT}.${Buffer.concat([signature.subarray(0, 32), bytes]).toString('base64url')}`
}

/** The last letter says two bits more than the bytes have: set them. */
function uncanonical(part: string): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return part.slice(0, -1) + letters[letters.indexOf(part.at(-1) ?? '') + 1]
}

type Hostile = [name: string, jwt: string, reason: JwtReason, rules?: Partial<JwtSettings>]

const SIGNATURES: Hostile[] = [
  ['alg: none, no signature', unsigned({ alg: 'none' }), 'algorithm'],
  ['alg: None', unsigned({ alg: 'None' }), 'algorithm'],
  ['alg: NONE', unsigned({ alg: 'NONE' }), 'algorithm'],
  ['alg: none over a real signature', bySecret({ alg: 'none' }), 'algorithm'],
  ['alg: an empty text', bySecret({ alg: '' }), 'algorithm'],
  ['no alg at all', bySecret({ typ: 'JWT' }), 'algorithm'],
  ['alg: a number', bySecret({ alg: 256 }), 'algorithm'],
  ['alg: a list', bySecret({ alg: ['HS256'] }), 'algorithm'],
  ['alg: in the prototype alone', bySecret('{"__proto__":{"alg":"HS256"}}'), 'algorithm'],
  ['HS512 by the right secret', makeJwt({ algorithm: 'HS512' }), 'algorithm'],
  ['HS384 by the right secret', makeJwt({ algorithm: 'HS384' }), 'algorithm'],
  ['ES256K', bySecret({ alg: 'ES256K' }), 'algorithm'],
  ['RS1', bySecret({ alg: 'RS1' }), 'algorithm'],
  ['an algorithm that encrypts', bySecret({ alg: 'RSA-OAEP-256' }), 'algorithm'],
  ['HS256 signed by the PEM text of the public key', makeJwt({ key: PEM }), 'algorithm', BY_PEM],
  ['the same beside a secret', makeJwt({ key: PEM }), 'signature', { ...BY_PEM, secret: SECRET }],
  [
    'HS256 signed by the PEM text without its last line break',
    makeJwt({ key: PEM.trim() }),
    'algorithm',
    BY_PEM,
  ],
  ['HS256 signed by the text of the JWKS', makeJwt({ key: JSON.stringify(KEYS) }), 'signature'],
  ['HS256 signed by the modulus', makeJwt({ key: String(KEYS.keys[0]?.n) }), 'signature'],
  ['HS256 signed by nothing', makeJwt({ key: '' }), 'signature'],
  ['RS256 signed as HS256', makeJwt({ header: { alg: 'RS256' }, key: SECRET }), 'signature'],
  [
    'PS256 signed as RS256',
    makeJwt({ header: { alg: 'PS256' }, algorithm: 'RS256', key: RSA.privateKey }),
    'signature',
  ],
  ['RS256 by a stranger', byStranger({}), 'signature'],
  ['the stranger brings the key along (jwk)', byStranger({ jwk: jwkOf(STRANGER.publicKey) }), 'signature'],
  ['the stranger says where the key is (jku)', byStranger({ jku: 'https://evil.example/jwks' }), 'signature'],
  [
    'the stranger says where the certificate is (x5u)',
    byStranger({ x5u: 'https://evil.example/c' }),
    'signature',
  ],
  [
    'the stranger brings a certificate along (x5c)',
    byStranger({ x5c: [encode('certificate')] }),
    'signature',
  ],
  ['the stranger takes our kid', byStranger({ kid: 'rsa' }), 'signature'],
  ['a kid that nobody knows', byStranger({ kid: "' OR 1=1 --" }), 'key'],
  ['a kid of another kind of key', byStranger({ kid: 'ec' }), 'key'],
  [
    'a kid that is a path, signed by an empty file',
    makeJwt({ header: { alg: 'HS256', kid: '/dev/null' }, key: '' }),
    'signature',
  ],
  ['ES256 of zeros', `${ES_INPUT}.${encode(new Uint8Array(64))}`, 'signature'],
  [
    'ES256 in DER',
    `${ES_INPUT}.${encode(sign('sha256', Buffer.from(ES_INPUT), EC.privateKey))}`,
    'signature',
  ],
  ['ES256 without a signature', `${ES_INPUT}.`, 'signature'],
  ['EdDSA, malleable', malleable(), 'signature'],
  ['a signature cut short', `${GOOD_HEADER}.${GOOD_PAYLOAD}.${GOOD_SIGNATURE.slice(0, 40)}`, 'signature'],
  ['no signature', `${GOOD_HEADER}.${GOOD_PAYLOAD}.`, 'signature'],
  [
    'other claims under the same signature',
    `${GOOD_HEADER}.${encode({ ...CLAIMS, sub: 'admin' })}.${GOOD_SIGNATURE}`,
    'signature',
  ],
]

const DEEP = `{"alg":"HS256","x":${'['.repeat(1400)}${']'.repeat(1400)}}`

const FORMS: Hostile[] = [
  ['two parts', `${GOOD_HEADER}.${GOOD_PAYLOAD}`, 'form'],
  ['four parts', `${GOOD}.x`, 'form'],
  [
    'five parts: a JWE',
    `${encode({ alg: 'dir', enc: 'A256GCM' })}..${encode('iv')}.${encode('text')}.${encode('tag')}`,
    'form',
  ],
  ['an empty header', `.${GOOD_PAYLOAD}.${GOOD_SIGNATURE}`, 'form'],
  ['an empty payload', `${GOOD_HEADER}..${GOOD_SIGNATURE}`, 'form'],
  ['nothing', '', 'form'],
  ['JSON instead of parts', JSON.stringify({ payload: GOOD_PAYLOAD, signature: GOOD_SIGNATURE }), 'form'],
  ['a signature in other letters', `${GOOD_HEADER}.${GOOD_PAYLOAD}.${uncanonical(GOOD_SIGNATURE)}`, 'form'],
  ['padding', `${GOOD}=`, 'form'],
  ['the letters of plain base64', `${GOOD_HEADER}.${GOOD_PAYLOAD}.+/${GOOD_SIGNATURE.slice(2)}`, 'form'],
  ['a line break', `${GOOD_HEADER}.\n${GOOD_PAYLOAD}.${GOOD_SIGNATURE}`, 'form'],
  ['a letter that no byte is written in', `${GOOD_HEADER}A.${GOOD_PAYLOAD}.${GOOD_SIGNATURE}`, 'form'],
  ['8,193 characters', `${GOOD}${'A'.repeat(8193 - GOOD.length)}`, 'size'],
  ['a header that is a list', bySecret('["HS256"]'), 'header'],
  ['a header that is a text', bySecret('"HS256"'), 'header'],
  ['a header that is null', bySecret('null'), 'header'],
  ['a header that is no JSON', bySecret('{"alg":"HS256"'), 'header'],
  ['a header with a mark before it', bySecret('\ufeff{"alg":"HS256"}'), 'header'],
  ['a header in other letters than ASCII', bySecret('{"alg":"HS256","é":1}'), 'header'],
  ['alg twice', bySecret('{"alg":"none","alg":"HS256"}'), 'header'],
  ['alg twice, once escaped', bySecret('{"\\u0061lg":"none","alg":"HS256"}'), 'header'],
  ['kid: a number', bySecret({ alg: 'HS256', kid: 7 }), 'header'],
  ['kid: an object', bySecret({ alg: 'HS256', kid: {} }), 'header'],
  ['a header as deep as a token may be', unsigned(DEEP), 'signature'],
  [
    'crit: an extension that nobody knows',
    bySecret({ alg: 'HS256', crit: ['http://x'], 'http://x': 1 }),
    'critical',
  ],
  ['crit: empty', bySecret({ alg: 'HS256', crit: [] }), 'critical'],
  ['crit: b64', bySecret({ alg: 'HS256', crit: ['b64'], b64: false }), 'critical'],
  ['b64: false beside no crit', bySecret({ alg: 'HS256', b64: false }), 'critical'],
  ['zip', bySecret({ alg: 'HS256', zip: 'DEF' }), 'nested'],
  ['enc', bySecret({ alg: 'HS256', enc: 'A128GCM' }), 'nested'],
  ['cty: JWT', bySecret({ alg: 'HS256', cty: 'jwt' }), 'nested'],
  ['cty: application/JWT', bySecret({ alg: 'HS256', cty: 'application/JWT' }), 'nested'],
  ['typ of a proof', bySecret({ alg: 'HS256', typ: 'dpop+jwt' }), 'type'],
  ['typ of a logout', bySecret({ alg: 'HS256', typ: 'logout+jwt' }), 'type'],
  ['typ: a number', bySecret({ alg: 'HS256', typ: 1 }), 'type'],
]

function without(name: keyof typeof CLAIMS): object {
  return { ...CLAIMS, [name]: undefined }
}

const CLAIMED: Hostile[] = [
  ['a payload that is no JSON', saying('user-1'), 'payload'],
  ['a payload that is a list', saying([CLAIMS]), 'payload'],
  ['a payload with a mark before it', saying(`\ufeff${JSON.stringify(CLAIMS)}`), 'payload'],
  [
    'a payload that is no UTF-8',
    saying(Buffer.from(`{"sub":"\xff","exp":${NOW_S + 9}}`, 'latin1')),
    'payload',
  ],
  ['sub twice', saying(`{"sub":"user-1","sub":"admin","exp":${NOW_S + 9}}`), 'payload'],
  ['sub twice, once escaped', saying(`{"s\\u0075b":"user-1","sub":"admin","exp":${NOW_S + 9}}`), 'payload'],
  ['a member twice further inside', saying(`{"sub":"u","exp":${NOW_S + 9},"r":[{"a":1,"a":2}]}`), 'payload'],
  ['exp twice', saying(`{"sub":"u","exp":1,"exp":${NOW_S + 9}}`), 'payload'],
  ['no exp', saying(without('exp')), 'expiry'],
  ['exp: a text', saying({ ...CLAIMS, exp: String(NOW_S + 9) }), 'expiry'],
  ['exp: null', saying({ ...CLAIMS, exp: null }), 'expiry'],
  ['exp: true', saying({ ...CLAIMS, exp: true }), 'expiry'],
  ['exp: a list', saying({ ...CLAIMS, exp: [NOW_S + 9] }), 'expiry'],
  ['exp: a number that never comes', saying('{"sub":"u","exp":1e999}'), 'expiry'],
  ['expired for longer than clocks differ', saying({ ...CLAIMS, exp: NOW_S - 30 }), 'expired'],
  ['expired ages ago', saying({ ...CLAIMS, exp: -1e300 }), 'expired'],
  ['not before a time to come', saying({ ...CLAIMS, nbf: NOW_S + 31 }), 'not_yet'],
  ['made in time to come', saying({ ...CLAIMS, iat: NOW_S + 31 }), 'not_yet'],
  ['nbf: a text', saying({ ...CLAIMS, nbf: '0' }), 'payload'],
  ['iat: a text', saying({ ...CLAIMS, iat: '0' }), 'payload'],
  ['iat: null', saying({ ...CLAIMS, iat: null }), 'payload'],
  ['no sub', saying(without('sub')), 'subject'],
  ['sub: empty', saying({ ...CLAIMS, sub: '' }), 'subject'],
  ['sub: a number', saying({ ...CLAIMS, sub: 1 }), 'subject'],
  ['sub: a list', saying({ ...CLAIMS, sub: ['user-1'] }), 'subject'],
  ['sub: in the prototype alone', saying(`{"__proto__":{"sub":"admin"},"exp":${NOW_S + 9}}`), 'subject'],
  ['sub: longer than any', saying({ ...CLAIMS, sub: 'x'.repeat(256) }), 'subject'],
  ['sub: half a letter', saying(`{"sub":"\\ud800","exp":${NOW_S + 9}}`), 'subject'],
  ['iss: an object, where none is asked for', saying({ ...CLAIMS, iss: {} }), 'issuer'],
  ['no iss', saying({ ...CLAIMS, aud: 'gateway' }), 'issuer', NAMED],
  ['another iss', saying({ ...CLAIMS, iss: 'https://id.example/', aud: 'gateway' }), 'issuer', NAMED],
  [
    'iss: a list with ours',
    saying({ ...CLAIMS, iss: ['https://id.example'], aud: 'gateway' }),
    'issuer',
    NAMED,
  ],
  ['no aud', saying({ ...CLAIMS, iss: 'https://id.example' }), 'audience', NAMED],
  ['another aud', saying({ ...CLAIMS, iss: 'https://id.example', aud: 'gateways' }), 'audience', NAMED],
  [
    'aud: a list of others',
    saying({ ...CLAIMS, iss: 'https://id.example', aud: ['a', 'b'] }),
    'audience',
    NAMED,
  ],
  [
    'aud: an object with ours',
    saying({ ...CLAIMS, iss: 'https://id.example', aud: { gateway: 1 } }),
    'audience',
    NAMED,
  ],
  ['claims that no head has room for', saying({ ...CLAIMS, x: 'é'.repeat(1500) }), 'claims_size'],
]

for (const [what, table] of [
  ['signatures', SIGNATURES],
  ['forms', FORMS],
  ['claims', CLAIMED],
] as const)
  t.test(`hostile tokens let nobody in, each for its own reason: ${what}`, async (t) => {
    for (const [name, jwt, reason, rules = RULES] of table)
      t.equal(await verdictOf(checkBy(rules), jwt), reason, name)
  })

t.test('the tokens they were made of are good, and there are more than forty', async (t) => {
  t.ok(SIGNATURES.length + FORMS.length + CLAIMED.length > 40)
  const named = { ...CLAIMS, iss: 'https://id.example', aud: ['x', 'gateway'] }
  const good = [
    GOOD,
    `${ES_INPUT}.${encode(signatureOf(ES_INPUT, 'ES256', EC.privateKey))}`,
    `${ED_INPUT}.${encode(signatureOf(ED_INPUT, 'EdDSA', ED.privateKey))}`,
    makeJwt({ header: { alg: 'RS256', kid: 'rsa' }, algorithm: 'RS256', key: RSA.privateKey }),
    makeJwt({ algorithm: 'PS256', key: RSA.privateKey }),
    makeJwt({ header: { alg: 'HS256', kid: 'any', typ: 'application/at+JWT' } }),
    makeJwt({ header: { alg: 'HS256', jku: 'https://evil.example', x5u: 'https://evil.example', jwk: {} } }),
    saying({ ...CLAIMS, exp: NOW_S - 29 }),
    saying({ ...CLAIMS, nbf: NOW_S + 30, iat: NOW_S + 30 }),
    saying({ ...CLAIMS, sub: 'x'.repeat(255), exp: NOW_S + 0.5 }),
    saying({ ...CLAIMS, exp: 1e300 }),
  ]
  for (const jwt of good) t.equal(await verdictOf(checkBy(RULES), jwt), 'ok', jwt)
  t.equal(await verdictOf(checkBy(NAMED), saying(named)), 'ok')
})
