import t from 'tap'
import { status } from '../support/behaviour.ts'
import { bearer, get, openStream, post, type Reply, send } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'

const CHAT = '/v1/chat/completions'
const ask = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

const provider = await startProvider(t)
const gateway = await startGateway(t, {
  modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
  env: { ...providerKeys('main'), CORS_ALLOWLIST: 'https://shop.example.app, https://*.example.app' },
})

t.test('named browser origins may read every kind of answer, others none', async (t) => {
  const token = await mintToken(t, gateway, { perMinute: 1000 })
  const kinds: [string, (origin: string) => Promise<Pick<Reply, 'headers'>>][] = [
    ['plain', (origin) => post(gateway, CHAT, ask, { ...bearer(token), origin })],
    ['refused', (origin) => post(gateway, CHAT, '[]', { ...bearer(token), origin })],
    ['unknown', (origin) => get(gateway, '/nowhere', { origin })],
    ['no token', (origin) => get(gateway, '/v1/models', { origin })],
    [
      'failed',
      (origin) => {
        provider.queue(status(500))
        return post(gateway, CHAT, ask, { ...bearer(token), origin })
      },
    ],
    [
      'stream',
      async (origin) => {
        const headers = { ...bearer(token), origin }
        const stream = await openStream(gateway, { path: CHAT, body: { ...ask, stream: true }, headers })
        await stream.rest()
        return stream
      },
    ],
  ]
  for (const [kind, call] of kinds) {
    for (const origin of ['https://shop.example.app', 'https://a.example.app']) {
      const { headers } = await call(origin)
      t.equal(headers['access-control-allow-origin'], origin, `${kind} ${origin}`)
      t.match(headers['access-control-expose-headers'], /x-request-id.*retry-after/, kind)
      t.match(headers.vary, /origin/i, kind)
      t.equal(headers['access-control-allow-credentials'], undefined, kind)
    }
    const strangers = [
      'https://evil-example.app',
      'https://a.b.example.app',
      'null',
      'https://shop.example.app:8443',
    ]
    for (const origin of [...strangers, 'http://shop.example.app', 'https://shop.example.app.evil.com']) {
      const { headers } = await call(origin)
      t.equal(headers['access-control-allow-origin'], undefined, `${kind} ${origin}`)
    }
  }
})

t.test('a preflight needs no token, and an unknown origin gets no leave', async (t) => {
  const preflight = (origin: string) =>
    send(gateway, {
      method: 'OPTIONS',
      path: CHAT,
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, content-type',
      },
    })
  const asked = provider.requests.length
  const known = await preflight('https://shop.example.app')
  t.equal(known.status, 204)
  t.equal(known.headers['access-control-allow-origin'], 'https://shop.example.app')
  t.match(known.headers['access-control-allow-methods'], /POST/)
  t.match(known.headers['access-control-allow-headers'], /authorization/)
  t.ok(known.headers['x-request-id'])
  t.equal((await preflight('https://evil-example.app')).headers['access-control-allow-origin'], undefined)
  t.equal(provider.requests.length, asked)
})
