import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { readBooks } from '../../src/stores/open.ts'
import { mintToken, runTokenGen, startGateway, temporaryFolder } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { makeJwt } from '../support/jwt.ts'

const SECRET = 'a secret of thirty-two characters'

/** A backend that answers as the path says. */
async function startBackend(t: Test) {
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const path = new URL(request.url ?? '', 'http://backend').pathname
    request.resume()
    if (path.endsWith('/slow')) return
    if (path.endsWith('/cut')) {
      response.writeHead(200, { 'content-length': 1_000 }).write('half')
      return void setTimeout(() => response.destroy(), 50)
    }
    const status = path.endsWith('/missing') ? 404 : 200
    request.on('end', () => response.writeHead(status).end('0123456789'))
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => socket.on('message', (message) => socket.send(`${message}!`)))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
}

async function openScene(t: Test) {
  const to = await startBackend(t)
  const file = join(temporaryFolder(t), 'services.json')
  const services = {
    '/api/users': { name: 'users', to, auth: 'any', open: ['/login'], paths: ['/named/{who}'] },
    '/api/once': { to, limits: { perMinute: 1 } },
    '/api/gone': { name: 'gone', to: 'http://127.0.0.1:9' },
    '/api/quiet': { to, usage: false },
    '/live': { to, name: 'live', serves: 'websocket' },
  }
  writeFileSync(file, JSON.stringify({ services }))
  const env = { JWT_SECRET: SECRET, INTERNAL_API_KEY: 'internal-key-of-the-test' }
  const gateway = await startGateway(t, { modelsFile: file, env })
  const token = await mintToken(t, gateway, { user: 'ann' })
  const ask = async (path: string, { method = 'GET', secret = token, body = '' } = {}) => {
    const answer = await fetch(gateway.url + path, {
      method,
      headers: secret === '' ? {} : { authorization: `Bearer ${secret}` },
      ...(body === '' ? {} : { body }),
    })
    await answer.text().catch(() => undefined)
    return answer
  }
  return { gateway, token, ask }
}

const nowS = () => Math.floor(Date.now() / 1000)

t.test('who called which service, how often and how it ended is in usage.sqlite', async (t) => {
  const { gateway, token, ask } = await openScene(t)
  const person = makeJwt({ claims: { sub: 'sub-7', exp: nowS() + 600 }, key: SECRET })
  await ask('/api/users/42/orders?page=2&secret=s3cret')
  await ask('/api/users/named/Ann%20Smith', { method: 'PUT', body: 'x'.repeat(70_000), secret: person })
  await ask('/api/users/login', { method: 'POST', body: 'me', secret: '' })
  await ask('/api/users/unheard/missing')
  await ask('/api/gone/orders')
  await ask('/api/users/cut').catch(() => undefined)
  for (const _ of [1, 2, 3]) await ask('/api/once')
  await ask('/api/quiet/orders')
  await ask('/api/users/42', { secret: 'gw-guessed' })
  const leaver = connect(gateway.port, '127.0.0.1')
  leaver.write(`GET /api/users/slow HTTP/1.1\r\nhost: g\r\nauthorization: Bearer ${token}\r\n\r\n`)
  await gateway.waitForLine(({ route, status }) => route === '/api/once' && status === 429)
  setTimeout(() => leaver.destroy(), 300)
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/live/rooms/17?x=1`, {
    headers: { authorization: `Bearer ${token}` },
  })
  socket.on('open', () => socket.send('hello'))
  socket.on('message', () => socket.close(1000))
  const rows = await waitUntil(
    () => readRows(gateway),
    ({ length }) => length >= 9,
  )
  const of = (path: string) => rows.find((row) => row.path === path)
  t.match(of('/api/users/{id}/orders'), {
    ...{ method: 'GET', status: 200, user: 'ann', provider: 'users', endpoint: 'service', model: '' },
    ...{ token_id: /^tok_/, bytes_in: 0, bytes_out: 10, attempts: 1, charged_micros: 0, requests: 1 },
  })
  t.match(of('/api/users/named/{who}'), { method: 'PUT', user: 'sub-7', token_id: '', bytes_in: 70_000 })
  t.match(of('/api/users/login'), { method: 'POST', user: '', token_id: '', bytes_in: 2, status: 200 })
  t.match(of('/api/users/{other}'), { status: 404 })
  t.match(of('/api/gone/orders'), { status: 502, provider: 'gone', attempts: 1, first_byte_ms: 0 })
  t.match(of('/api/users/cut'), { status: 502, bytes_out: 4 })
  t.match(of('/api/users/slow'), { status: 499, bytes_out: 0 })
  t.match(of('/live/rooms/{id}'), { status: 101, provider: 'live', bytes_in: 19, bytes_out: 12 })
  t.equal(rows.filter(({ path }) => path === '/api/once').length, 1, 'what was refused leaves none')
  t.equal(rows.length, 9)
  t.notMatch(JSON.stringify(rows), /s3cret|Smith|page=/)
  t.notMatch(JSON.stringify(rows.map(({ path }) => path)), /42/, 'no path has an id')
  const lines = JSON.stringify(gateway.lines())
  t.notMatch(lines, /s3cret|Smith|orders|unheard/, 'no line has a path')
  t.match(
    gateway.lines().find(({ user }) => user === 'sub-7'),
    { route: '/api/users', bytesIn: 70_000 },
  )
  t.match(await readBooks({ dbDir: gateway.dbDir }), { faults: [] })
  const listed = await runTokenGen(t, gateway.dbDir, ['--list'])
  t.equal(listed.code, 0)
  t.match(listed.stdout, /ann/)
})

t.test('a drain takes all rows along', async (t) => {
  const { gateway, ask } = await openScene(t)
  for (let n = 0; n < 20; n++) await ask(`/api/users/${n}`)
  t.equal((await gateway.stop()).code, 0)
  t.equal(readRows(gateway).length, 20)
})
