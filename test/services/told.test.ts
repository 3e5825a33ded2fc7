import Fastify from 'fastify'
import t from 'tap'
import { schemeOf } from '../../src/services/heads/told.ts'

t.test('a service hears https of whoever speaks TLS, also when a proxy calls a socket wss', async (t) => {
  const app = Fastify({ trustProxy: true })
  app.get('/', async (request) => schemeOf(request))
  const said = {
    https: 'https',
    wss: 'https',
    http: 'http',
    ws: 'http',
    'javascript:': 'http',
    toString: 'http',
  }
  for (const [proto, expected] of Object.entries(said)) {
    const { body } = await app.inject({ url: '/', headers: { 'x-forwarded-proto': proto } })
    t.equal(body, expected, proto)
  }
  t.equal((await app.inject('/')).body, 'http')
})
