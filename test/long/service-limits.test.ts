import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { mintToken, startGateway, type TestGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { makeJwt } from '../support/jwt.ts'
import { startRedis } from '../support/redis.ts'

const SECRET = 'a secret of thirty-two characters'
const KEYS = { JWT_SECRET: SECRET, INTERNAL_API_KEY: 'internal-key-of-the-test' }

async function startBackend(t: Test): Promise<string> {
  const server = createServer((_request, response) => response.end('ok'))
  const sockets = new WebSocketServer({ server })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
}

async function fileOf(t: Test, services: (to: string) => object): Promise<string> {
  const file = join(temporaryFolder(t), 'services.json')
  writeFileSync(file, JSON.stringify({ services: services(await startBackend(t)) }))
  return file
}

const personOf = (sub: string, more: object = {}) =>
  makeJwt({ claims: { sub, exp: Math.floor(Date.now() / 1000) + 600, ...more }, key: SECRET })

interface Asked {
  secret?: string
  method?: string
  headers?: Record<string, string>
}

async function ask(
  gateway: TestGateway,
  path: string,
  { secret = '', method = 'GET', headers = {} }: Asked = {},
) {
  const answer = await fetch(gateway.url + path, {
    method,
    headers: { ...(secret === '' ? {} : { authorization: `Bearer ${secret}` }), ...headers },
  })
  await answer.text()
  return answer
}

t.test(
  'two replicas on one Redis count a route’s callers together, and nobody passes while it is away',
  async (t) => {
    const redis = await startRedis(t)
    const modelsFile = await fileOf(t, (to) => ({
      '/api/jobs': { to, auth: 'any', limits: { perMinute: 6 }, open: ['/public'] },
      '/api/days': { to, auth: 'any', limits: { perDay: 4 } },
      '/api/free': { to, auth: 'token' },
    }))
    const env = { ...KEYS, REDIS_URL: redis.url, REDIS_PREFIX: randomUUID() }
    const replicas = [
      await startGateway(t, { modelsFile, env }),
      await startGateway(t, { modelsFile, env }),
    ] as const
    const token = await mintToken(t, { dbDir: replicas[0].dbDir, env }, { user: 'ann' })
    const statuses = async (path: string, secret: string, count: number) => {
      const all = Array.from({ length: count }, (_, n) =>
        ask(replicas[n % 2 === 0 ? 0 : 1], path, { secret }),
      )
      return (await Promise.all(all)).map(({ status }) => status)
    }
    const passed = (all: number[]) => all.filter((status) => status === 200).length
    t.equal(passed(await statuses('/api/jobs/1', token, 40)), 6)
    t.equal(passed(await statuses('/api/jobs/1', personOf('7'), 40)), 6, 'a person has a minute of its own')
    t.equal(passed(await statuses('/api/jobs/1', personOf('8'), 10)), 6)
    t.equal(passed(await statuses('/api/jobs/public', '', 10)), 6, 'so has an address')
    t.equal(passed(await statuses('/api/days', personOf('7'), 20)), 4)
    const refused = await ask(replicas[1], '/api/days', { secret: personOf('7') })
    t.equal(refused.status, 429)
    t.ok(Number(refused.headers.get('retry-after')) <= 86_400)
    t.equal(refused.headers.get('x-ratelimit-limit'), '4')
    t.equal(refused.headers.get('x-ratelimit-remaining'), '0')
    redis.signal('SIGSTOP')
    const away = await waitUntil(
      () => ask(replicas[0], '/api/jobs/public'),
      ({ status }) => status !== 200 && status !== 429,
    )
    t.equal(away.status, 503)
    redis.signal('SIGCONT')
  },
)

t.test(
  'a route’s day goes on in the next server, also after kill -9; handshakes count, preflights do not',
  async (t) => {
    const modelsFile = await fileOf(t, (to) => ({
      '/api/days': { to, auth: 'any', limits: { perDay: 5 }, cors: { origins: ['https://app.example.com'] } },
    }))
    const first = await startGateway(t, { modelsFile, env: KEYS })
    const secret = personOf('7')
    const left = async (gateway: TestGateway) => {
      const { status, headers } = await ask(gateway, '/api/days/x', { secret })
      return [status, headers.get('x-ratelimit-remaining')]
    }
    t.same(await left(first), [200, '4'])
    for (let n = 0; n < 9; n++)
      await ask(first, '/api/days/x', {
        method: 'OPTIONS',
        headers: { origin: 'https://app.example.com', 'access-control-request-method': 'PUT' },
      })
    const socket = new WebSocket(`${first.url.replace('http', 'ws')}/api/days/live`, {
      headers: { authorization: `Bearer ${secret}` },
    })
    await once(socket, 'open')
    socket.send('counts for nothing')
    socket.close()
    t.same(await left(first), [200, '2'])
    // At most a second of what was counted is lost.
    await new Promise((done) => setTimeout(done, 1_500))
    await first.kill9()
    const second = await startGateway(t, { modelsFile, env: KEYS, dbDir: first.dbDir, logDir: first.logDir })
    t.same(await left(second), [200, '1'])
    t.equal((await second.stop()).code, 0)
    const third = await startGateway(t, { modelsFile, env: KEYS, dbDir: first.dbDir, logDir: first.logDir })
    t.same(await left(third), [200, '0'])
    t.same(await left(third), [429, '0'])
    const twice = new WebSocket(`${third.url.replace('http', 'ws')}/api/days/live`, {
      headers: { authorization: `Bearer ${secret}` },
    })
    twice.on('error', () => undefined)
    const [, answer] = await once(twice, 'unexpected-response')
    t.equal(answer.statusCode, 429)
    twice.terminate()
  },
)

t.test('who has no token may ask SERVICE_REQUESTS_PER_MINUTE times where a route says nothing', async (t) => {
  const modelsFile = await fileOf(t, (to) => ({
    '/api/jobs': { to, auth: 'any', open: ['/public'] },
    '/api/few': { to, auth: 'open', limits: { inFlight: 1 }, serves: 'both' },
  }))
  const env = { ...KEYS, SERVICE_REQUESTS_PER_MINUTE: '3' }
  const gateway = await startGateway(t, { modelsFile, env })
  const token = await mintToken(t, gateway, { user: 'ann' })
  const statuses = async (path: string, secret: string) => {
    const all = []
    for (let n = 0; n < 5; n++) all.push((await ask(gateway, path, { secret })).status)
    return all
  }
  t.same(await statuses('/api/jobs/1', personOf('7')), [200, 200, 200, 429, 429])
  t.same(await statuses('/api/jobs/public', ''), [200, 200, 200, 429, 429])
  t.same(await statuses('/api/jobs/1', token), [200, 200, 200, 200, 200])
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/api/few/live`)
  await once(socket, 'open')
  t.equal((await ask(gateway, '/api/few')).status, 429, 'the socket has the only place')
  socket.close()
  await once(socket, 'close')
})
