import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import t from 'tap'
import { type JwksServer, openJwksServer } from '../support/jwks-server.ts'
import { checkBy, EC, jwkOf, makeJwt, RSA, SECRET, verdictOf } from '../support/jwt.ts'
import type { Owner } from '../support/waiting.ts'

const NEXT = generateKeyPairSync('rsa', { modulusLength: 2048 })
const MINUTE_MS = 60_000

function signed(kid: string | undefined, key: KeyObject = RSA.privateKey): string {
  return makeJwt({ header: { alg: 'RS256', kid }, algorithm: 'RS256', key })
}
const FIRST = { keys: [jwkOf(RSA.publicKey, { kid: 'first' })] }
const SECOND = { keys: [jwkOf(NEXT.publicKey, { kid: 'second' })] }

/** A check by a real server, and a clock that is set by hand. */
async function openScene(t: Owner, timeoutMs?: number) {
  const server = await openJwksServer(t, { timeoutMs })
  let atMs = 0
  const problems: (string | undefined)[] = []
  const check = checkBy(
    { jwksUrl: server.url, secret: SECRET },
    {
      fetchText: server.fetchText,
      monotonicMs: () => atMs,
      report: (problem) => problems.push(problem?.message),
    },
  )
  const ask = (jwt: string): Promise<string> =>
    verdictOf(check, jwt).catch((error) => `${Reflect.get(error, 'statusCode')} ${error.message}`)
  const pass = (ms: number): void => {
    atMs += ms
  }
  return { server, check, ask, pass, problems }
}

t.test('keys are fetched once for many, and kept', async (t) => {
  const { server, ask } = await openScene(t)
  server.say(FIRST)
  t.equal(await ask(makeJwt()), 'ok')
  t.equal(server.asked(), 0, 'the secret needs no server')
  const verdicts = await Promise.all(Array.from({ length: 50 }, () => ask(signed('first'))))
  t.strictSame(new Set(verdicts), new Set(['ok']))
  t.equal(await ask(signed(undefined)), 'ok', 'a token that names no key is tried by those there are')
  t.equal(server.asked(), 1)
})

t.test('a kid that nobody knows has the keys fetched again, but not for each token', async (t) => {
  const { server, ask, pass } = await openScene(t)
  server.say(FIRST)
  t.equal(await ask(signed('first')), 'ok')
  server.say({ keys: [...FIRST.keys, ...SECOND.keys] })
  t.equal(await ask(signed('second', NEXT.privateKey)), 'key', 'they were fetched a moment ago')
  pass(10_000)
  t.equal(await ask(signed('second', NEXT.privateKey)), 'ok')
  t.equal(server.asked(), 2)
  for (let kid = 0; kid < 20; kid += 1) t.equal(await ask(signed(`no-${kid}`)), 'key')
  t.equal(server.asked(), 2)
  t.equal(await ask(makeJwt({ header: { alg: 'none' } })), 'algorithm')
  t.equal(server.asked(), 2)
})

t.test('a key that was withdrawn lets nobody in for longer than ten minutes', async (t) => {
  const { server, ask, pass } = await openScene(t)
  server.say(FIRST)
  const jwt = signed('first')
  t.equal(await ask(jwt), 'ok')
  server.say(SECOND)
  pass(4 * MINUTE_MS)
  t.equal(await ask(jwt), 'ok', 'who was verified stays')
  t.equal(server.asked(), 1)
  pass(6 * MINUTE_MS)
  t.equal(await ask(jwt), 'key', 'also who was verified before')
  t.equal(await ask(signed('second', NEXT.privateKey)), 'ok')
  t.equal(server.asked(), 2)
})

t.test('after five minutes they are fetched behind the request that comes', async (t) => {
  const { server, ask, pass } = await openScene(t)
  server.say(FIRST)
  const jwt = signed('first')
  t.equal(await ask(jwt), 'ok')
  server.say(undefined)
  pass(5 * MINUTE_MS)
  t.equal(await ask(jwt), 'ok', 'nobody waits for the server')
  await server.whenAsked(2)
  server.say({ keys: [...FIRST.keys, ...SECOND.keys] })
  server.release()
  pass(1)
  t.equal(await ask(signed('second', NEXT.privateKey)), 'ok', 'whose key is new waits for what is on its way')
  t.equal(server.asked(), 2)
})

t.test('while the server is away, lies or hangs, the keys from before stay', async (t) => {
  const { server, ask, pass, problems } = await openScene(t, 300)
  server.say(FIRST)
  const jwt = signed('first')
  t.equal(await ask(jwt), 'ok')
  const lies: [body: object | string | undefined, status?: number][] = [
    ['<html>Sign in</html>'],
    ['{"keys":'],
    [{ keys: {} }],
    [{ keys: [] }],
    [{ keys: [jwkOf(NEXT.publicKey, { use: 'enc' })] }],
    [SECOND, 500],
    [SECOND, 302],
    [`{"keys":[],"x":"${'x'.repeat(70_000)}"}`],
    [undefined],
  ]
  for (const [body, status] of lies) {
    server.say(body, status)
    pass(11 * MINUTE_MS)
    const asked = server.asked()
    t.equal(await ask(jwt), 'ok', String(body).slice(0, 40))
    t.equal(server.asked(), asked + 1, 'it was asked')
    t.equal(await ask(jwt), 'ok')
    t.equal(server.asked(), asked + 1, 'not again at once')
  }
  await server.goAway()
  pass(11 * MINUTE_MS)
  t.equal(await ask(jwt), 'ok')
  t.equal(problems.length, 1, 'it is told once')
  await server.comeBack()
  server.say(SECOND)
  pass(11 * MINUTE_MS)
  t.equal(await ask(jwt), 'key')
  t.equal(await ask(signed('second', NEXT.privateKey)), 'ok')
  t.strictSame(problems.slice(1), [undefined])
})

t.test('without any keys nobody is refused for good: 503, and the server is asked again', async (t) => {
  const { server, ask, pass } = await openScene(t, 300)
  await server.goAway()
  const jwt = signed('first')
  t.match(await ask(jwt), /^503 The keys that JWTs are checked by cannot be fetched right now/)
  t.equal(await ask(makeJwt()), 'ok', 'the secret needs no server')
  t.equal(await ask(makeJwt({ key: 'another one' })), 'signature')
  await server.comeBack()
  server.say(undefined)
  pass(1_000)
  const waiting = Array.from({ length: 20 }, () => ask(jwt))
  t.match((await Promise.all(waiting))[19], /^503/)
  t.equal(server.asked(), 1, 'one fetch at a time')
  server.say(FIRST)
  t.match(await ask(jwt), /^503/, 'not at once')
  pass(1_000)
  t.equal(await ask(jwt), 'ok')
})

t.test('a set may hold keys of every kind; those that nobody should trust are left out', async (t) => {
  const { server, ask } = await openScene(t)
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const ec = (header: object) =>
    makeJwt({ header: { alg: 'ES256', ...header }, algorithm: 'ES256', key: EC.privateKey })
  server.say({
    keys: [
      null,
      { kty: 'XYZ', kid: 'odd' },
      { kty: 'oct', kid: 'secret', k: Buffer.from('published').toString('base64url') },
      jwkOf(weak.publicKey, { kid: 'weak' }),
      jwkOf(NEXT.privateKey, { kid: 'private' }),
      jwkOf(NEXT.publicKey, { kid: 'enc', use: 'enc' }),
      jwkOf(NEXT.publicKey, { kid: 'ops', key_ops: ['encrypt'] }),
      jwkOf(NEXT.publicKey, { kid: 'alg', alg: 'PS512' }),
      jwkOf(NEXT.publicKey, { kid: 'alg-none', alg: 'none' }),
      jwkOf(NEXT.publicKey, { kid: 'e-1', e: 'AQ' }),
      jwkOf(EC.publicKey, { kid: 'off-curve', y: jwkOf(EC.publicKey).x }),
      jwkOf(EC.publicKey, { kid: 'good-ec', use: 'sig', key_ops: ['verify'], alg: 'ES256' }),
    ],
  })
  t.equal(await ask(ec({ kid: 'good-ec' })), 'ok')
  t.equal(await ask(ec({})), 'ok')
  t.equal(await ask(ec({ kid: 'off-curve' })), 'key')
  for (const kid of ['private', 'enc', 'ops', 'alg', 'alg-none', 'e-1'])
    t.equal(await ask(signed(kid, NEXT.privateKey)), 'algorithm', kid)
  t.equal(await ask(signed('weak', weak.privateKey)), 'algorithm')
  t.equal(await ask(makeJwt({ header: { alg: 'HS256', kid: 'secret' }, key: 'published' })), 'signature')
  const ps = makeJwt({ header: { alg: 'PS512', kid: 'alg' }, algorithm: 'PS512', key: NEXT.privateKey })
  t.equal(await ask(ps), 'ok', 'a key that names its algorithm checks that one alone')
})

t.test('of many keys a token must say which one it means', async (t) => {
  const { server, ask } = await openScene(t)
  const pairs = Array.from({ length: 9 }, () => generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  server.say({ keys: pairs.map(({ publicKey }, index) => jwkOf(publicKey, { kid: `key-${index}` })) })
  const by = (index: number, kid?: string) =>
    makeJwt({ header: { alg: 'ES256', kid }, algorithm: 'ES256', key: pairs[index]?.privateKey })
  t.equal(await ask(by(7)), 'ok')
  t.equal(await ask(by(8)), 'signature', 'nobody tries all keys for everybody')
  t.equal(await ask(by(8, 'key-8')), 'ok')
})

t.test('another secret or URL takes effect at once, and leaves the keys that are there', async (t) => {
  const server: JwksServer = await openJwksServer(t)
  server.say(FIRST)
  let rules = { secret: SECRET, jwksUrl: server.url, toleranceS: 30 }
  const check = checkBy({}, { rules: () => rules, fetchText: server.fetchText })
  t.equal(await verdictOf(check, makeJwt()), 'ok')
  t.equal(await verdictOf(check, signed('first')), 'ok')
  await server.goAway()
  rules = { ...rules, secret: 'another secret of as many letters' }
  t.equal(await verdictOf(check, makeJwt()), 'signature')
  t.equal(await verdictOf(check, signed('first')), 'ok', 'while the server is away')
  rules = { ...rules, jwksUrl: server.url.replace('/jwks', '/other') }
  await t.rejects(verdictOf(check, signed('first')), /cannot be fetched right now/)
})
