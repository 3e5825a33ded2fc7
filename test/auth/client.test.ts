import Fastify, { type FastifyPluginAsync } from 'fastify'
import t from 'tap'
import { clientAuth, hashSecret, makeSecret, prefixOf, readCredential } from '../../src/auth/client.ts'
import { errorReply } from '../../src/entrance/error-reply.ts'
import { rateLimited } from '../../src/errors.ts'
import type { Token } from '../../src/stores/contracts/tokens.ts'

const NOW = 1_800_000_000_000

const buildToken = (secret: string, more: Partial<Token> = {}): Token => ({
  id: `id-${secret}`,
  hash: hashSecret(secret),
  prefix: secret.slice(0, 6),
  type: 'user',
  user: 'testuser',
  name: '',
  models: [],
  createdAt: 0,
  ...more,
})

t.test('the first credential in the order of the contract counts', async (t) => {
  const cases: [Record<string, string>, string | undefined][] = [
    [{ authorization: 'Bearer one', 'x-api-key': 'two' }, 'one'],
    [{ authorization: 'bEaReR   one' }, 'one'],
    [{ authorization: 'Basic abc', 'x-api-key': 'two', 'api-key': 'three' }, 'two'],
    [{ 'api-key': 'three' }, 'three'],
    [{}, undefined],
    [{ authorization: 'Bearer ' }, undefined],
    [{ authorization: 'Bearer' }, undefined],
    [{ authorization: 'one' }, undefined],
    [{ 'x-api-key': '' }, undefined],
    [{ 'x-api-key': 'a b' }, undefined],
    [{ 'x-api-key': 'a\tb' }, undefined],
    [{ 'x-api-key': 'a\u0000b' }, undefined],
    [{ 'x-api-key': 'é' }, undefined],
    [{ 'x-api-key': 'x'.repeat(512) }, 'x'.repeat(512)],
    [{ 'x-api-key': 'x'.repeat(513) }, undefined],
  ]
  for (const [headers, expected] of cases) t.equal(readCredential(headers), expected, JSON.stringify(headers))
})

t.test(
  'a valid token passes; unknown, revoked, disabled, rotated and expired ones read the same',
  async (t) => {
    const known = [
      buildToken('good'),
      buildToken('revoked', { revokedAt: NOW - 1 }),
      buildToken('expired', { expiresAt: NOW }),
      buildToken('expires-later', { expiresAt: NOW + 1 }),
      buildToken('disabled', { disabledAt: NOW - 1 }),
    ]
    const previous = [
      { hash: hashSecret('old'), until: NOW + 1 },
      { hash: hashSecret('older'), until: NOW },
    ]
    const rotated = buildToken('rotated', { previous })
    const byHash = new Map([...known, rotated].map((token) => [token.hash, token]))
    for (const { hash } of previous) byHash.set(hash, rotated)
    const refused: string[] = []
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(errorReply)
    const paidScope: FastifyPluginAsync = async (paid) => {
      await paid.register(clientAuth, {
        tokens: { find: async (hash) => byHash.get(hash) },
        now: () => NOW,
        onRefused: (request) => {
          refused.push(request.url)
          if (request.url === '/v1/flood') throw rateLimited('Too many.')
        },
      })
      paid.get('/v1/*', (request) => request.token.id)
    }
    await app.register(paidScope)
    const ask = (secret: string | undefined, url = '/v1/a') =>
      app.inject({ url, headers: secret === undefined ? {} : { authorization: `Bearer ${secret}` } })
    t.equal((await ask('good')).body, 'id-good')
    t.equal((await ask('expires-later')).body, 'id-expires-later')
    for (const secret of ['rotated', 'old']) t.equal((await ask(secret)).body, 'id-rotated')
    t.strictSame(refused, [])
    const wrong = ['unknown', 'revoked', 'expired', 'disabled', 'older']
    const bodies = await Promise.all(wrong.map((secret) => ask(secret)))
    for (const answer of bodies) {
      t.equal(answer.statusCode, 401)
      t.equal(answer.json().error.code, 'invalid_api_key')
      t.equal(answer.headers['www-authenticate'], 'Bearer')
    }
    t.equal(new Set(bodies.map((answer) => answer.body)).size, 1)
    t.match((await ask(undefined)).json(), { error: { message: /Authorization: Bearer/ } })
    t.equal(refused.length, 6)
    t.equal((await ask('unknown', '/v1/flood')).statusCode, 429)
    t.equal((await ask('good', '/nowhere')).statusCode, 404, 'an unknown path is not found, token or not')
    t.equal((await ask(undefined, '/nowhere')).statusCode, 404)
  },
)

t.test('a token store that is down is 503, not "wrong token"', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(errorReply)
  await app.register(clientAuth, { tokens: { find: () => Promise.reject(new Error('disk')) } })
  app.get('/v1/a', () => 'never')
  const answer = await app.inject({ url: '/v1/a', headers: { 'x-api-key': 'good' } })
  t.equal(answer.statusCode, 503)
  t.equal(answer.json().error.code, 'store_unavailable')
})

t.test('of a secret made here seven characters are shown, of a chosen one two', (t) => {
  const made = makeSecret()
  t.equal(prefixOf(made), made.slice(0, 7))
  for (const chosen of ['hunter2-hunter2-', 'gw-correct-horse', `${made}x`, `gw-${'é'.repeat(43)}`])
    t.equal(prefixOf(chosen), chosen.slice(0, 2), chosen)
  t.end()
})
