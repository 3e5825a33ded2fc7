import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { startByteBackend } from '../support/byte-backend.ts'
import {
  failGateway,
  mintToken,
  startGateway,
  type TestGateway,
  temporaryFolder,
} from '../support/gateway.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import { servicesFile, writeServices } from '../support/services-file.ts'
import type { Owner } from '../support/waiting.ts'
import { openWire, requestText } from '../support/wire.ts'

/** A service that says its name, answers `/slow` when it is told to, and has sockets. */
async function startService(t: Owner, name: string) {
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const server = http.createServer(async (request, response) => {
    if (request.url === '/slow') {
      response.write(`${name} begins`)
      await released
      return response.end(`, ${name} ends`)
    }
    let bytes = 0
    for await (const chunk of request) bytes += chunk.length
    response.end(JSON.stringify({ name, url: request.url, bytes, headers: request.headers }))
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => {
    socket.on('error', () => {})
    socket.on('message', (text) => socket.send(`${name}: ${text}`))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
    for (const socket of sockets.clients) socket.terminate()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, release }
}

const openSocket = async (t: Owner, url: string): Promise<WebSocket> => {
  const socket = new WebSocket(url.replace(/^http/, 'ws'))
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  return socket
}

const say = async (socket: WebSocket, text: string): Promise<string> => {
  const answered = once(socket, 'message')
  socket.send(text)
  return String((await answered)[0])
}

const refusals = (gateway: TestGateway) =>
  gateway.lines().filter(({ msg }) => msg === 'models file refused: the old one stays')

t.test('a file that changes leaves what runs alone, and a bad one changes nothing', async (t) => {
  const [first, second] = [await startService(t, 'first'), await startService(t, 'second')]
  const path = servicesFile(t, {
    '/live': { to: first.url, auth: 'open' },
    '/gone': { to: first.url, auth: 'open' },
  })
  const gateway = await startGateway(t, { modelsFile: path })
  const reread = async (change: () => void): Promise<void> => {
    const count = () => gateway.lines().filter(({ msg }) => msg === 'models file re-read').length
    const before = count()
    change()
    await gateway.waitForLine(() => count() > before)
  }
  const nameAt = async (route: string): Promise<unknown> => {
    const answer = await fetch(`${gateway.url}${route}`)
    return answer.status === 200 ? Reflect.get(Object(await answer.json()), 'name') : answer.status
  }

  const slow = await fetch(`${gateway.url}/live/slow`)
  const reader = slow.body?.pipeThrough(new TextDecoderStream()).getReader()
  t.equal((await reader?.read())?.value, 'first begins')
  const socket = await openSocket(t, `${gateway.url}/gone/ws`)
  t.equal(await say(socket, 'a'), 'first: a')
  const upload = http.request(`${gateway.url}/live/upload`, { method: 'PUT' })
  const answered = once(upload, 'response')
  upload.write('x'.repeat(1000))
  // It has arrived at the service before the file changes.
  await new Promise((resolve) => upload.write('x'.repeat(1000), resolve))
  t.equal(await nameAt('/live'), 'first')

  await reread(() =>
    writeServices(path, { '/live': { to: second.url, auth: 'open' }, '/new': { to: second.url } }),
  )
  t.equal(await nameAt('/live'), 'second')
  t.equal(await nameAt('/gone'), 404)
  t.equal(await nameAt('/new'), 401)
  t.equal(await say(await openSocket(t, `${gateway.url}/live/ws`), 'b'), 'second: b')
  await t.rejects(openSocket(t, `${gateway.url}/gone/ws`), /404/)

  t.equal(await say(socket, 'c'), 'first: c', 'an open socket stays where it is')
  first.release()
  t.equal((await reader?.read())?.value, ', first ends', 'a running answer ends as it began')
  t.ok((await reader?.read())?.done)
  upload.end('x'.repeat(1000))
  const [response] = await answered
  let body = ''
  for await (const chunk of response) body += chunk
  t.match(JSON.parse(body), { name: 'first', bytes: 3000 }, 'a running upload too')

  writeServices(path, { '/live': { to: 'nowhere', auth: 'opne' }, '/health/x': { too: first.url } })
  await gateway.waitForLine(() => refusals(gateway).length > 0)
  t.equal(await nameAt('/live'), 'second')
  t.equal(await nameAt('/new'), 401)
  const told = String(refusals(gateway)[0]?.mistakes)
  for (const mistake of [
    /live\.to must lead/,
    /live\.auth must be/,
    /health\/x\.too is not/,
    /health\/x covers a path/,
  ])
    t.match(told, mistake)
  await reread(() => {
    const beside = `${path}.new`
    writeServices(beside, { '/live': { to: first.url, auth: 'open' } })
    renameSync(beside, path)
  })
  t.equal(await nameAt('/live'), 'first')
  t.equal(await nameAt('/new'), 404)
  t.equal(refusals(gateway).length, 1, 'a mistake is told once')
})

t.test('secrets of services rotate while the gateway runs, and stand in no line', async (t) => {
  const service = await startService(t, 'users')
  const folder = temporaryFolder(t)
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), `${text}\n`)
  const secrets = ['first', 'second'].map((name) => ({
    jwt: `the-${name}-secret-that-signs-the-jwts`,
    key: `the-${name}-internal-key`,
  }))
  const [old, fresh] = secrets
  put('jwt', old?.jwt ?? '')
  put('key', old?.key ?? '')
  const gateway = await startGateway(t, {
    env: {
      USER_SERVICE_URL: service.url,
      JWT_SECRET_FILE: join(folder, 'jwt'),
      INTERNAL_API_KEY_FILE: join(folder, 'key'),
      LOG_LEVEL: 'trace',
    },
  })
  const sign = (secret = '') =>
    new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('ann')
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(secret))
  const ask = async (secret = '') => {
    const authorization = `Bearer ${await sign(secret)}`
    const answer = await fetch(`${gateway.url}/api/users/1`, { headers: { authorization } })
    return { status: answer.status, body: await answer.json() }
  }
  t.match(await ask(old?.jwt), {
    status: 200,
    body: { headers: { 'x-internal-api-key': old?.key, 'x-user-id': 'ann' } },
  })
  t.match(await ask(fresh?.jwt), { status: 401 })
  put('jwt', fresh?.jwt ?? '')
  put('key', fresh?.key ?? '')
  const reread = () => gateway.lines().flatMap(({ variables }) => (Array.isArray(variables) ? variables : []))
  await gateway.waitForLine(
    () => reread().includes('JWT_SECRET_FILE') && reread().includes('INTERNAL_API_KEY_FILE'),
  )
  t.match(await ask(fresh?.jwt), {
    status: 200,
    body: { url: '/1', headers: { 'x-internal-api-key': fresh?.key } },
  })
  put('jwt', 'too-short')
  await gateway.waitForLine(({ msg }) => msg === 'secret refused: the one from before stays in force')
  t.match(await ask(fresh?.jwt), { status: 200 })
  for (const { jwt, key } of secrets)
    for (const secret of [jwt, key]) t.notOk(gateway.stdout().includes(secret))
  const token = await mintToken(t, gateway)
  const answer = await fetch(`${gateway.url}/api/user/1`, { headers: { 'x-api-key': token } })
  t.equal(answer.status, 200, 'a token enters as well')
})

t.test('what services need and is missing refuses the start with exit code 78 and what to set', async (t) => {
  const env = {
    USER_SERVICE_URL: 'http://users:3000',
    AUTH_SERVICE_URL: 'http://me:hunter2@auth',
    JWT_SECRET: 'short',
  }
  const { code, stderr } = await failGateway(t, { env })
  t.equal(code, 78)
  t.match(stderr, /AUTH_SERVICE_URL, USER_SERVICE_URL need INTERNAL_API_KEY.*openssl rand -hex 32/)
  t.match(stderr, /AUTH_SERVICE_URL must lead to a URL without user name and password/)
  t.match(stderr, /JWT_SECRET must have at least 32 characters/)
  t.notMatch(stderr, /hunter2/)
  const rows = { PASSTHROUGH_PATHS: '/api=https://a.example!jwt', INTERNAL_API_BASE_URL: 'http://a' }
  const { stderr: all } = await failGateway(t, { env: { ...rows, USER_SERVICE_URL: 'http://users:3000' } })
  t.match(all, /USER_SERVICE_URL needs INTERNAL_API_KEY/)
  t.match(all, /PASSTHROUGH_PATHS \/api lets in who has a JWT, and none can be verified/, 'all at once')
  const { stderr: between } = await failGateway(t, { env: { ...rows, QUERY_API_KEYS: 'prxy' } })
  t.match(between, /^The gateway cannot start with these settings:/, 'there is no models file')
  t.match(between, /PASSTHROUGH_PATHS \/api lets in who has a JWT/)
  t.match(between, /QUERY_API_KEYS names no route \(did you mean "proxy"\?\)/)
  const file = await failGateway(t, { modelsFile: servicesFile(t, { '/health': { to: 'x', auth: 'jwt' } }) })
  t.equal(file.code, 78)
  for (const mistake of [
    /services\.\/health covers/,
    /\.to must lead/,
    /none can be verified: set JWT_SECRET/,
  ])
    t.match(file.stderr, mistake)
})

t.test('a spelling that a service may take for a guarded path reaches nobody', async (t) => {
  const backend = await startByteBackend(t, ({ socket }) =>
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
  )
  const target = { origin: backend.origin, basePath: '' }
  const { port, token } = await openServiceGateway(t, [
    { prefix: '/api', entry: 'open', targets: [target] },
    { prefix: '/api/admin', serves: 'http', targets: [{ ...target, basePath: '/admin' }] },
  ])
  const ask = async (path: string, ...fields: string[]): Promise<number> => {
    const answer = await openWire(t, port, requestText(`GET ${path}`, fields)).whole()
    return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])
  }
  t.equal(await ask('/api/x'), 200)
  t.equal(await ask('/api/admin/x'), 401)
  t.equal(await ask('/api/admin/x', `authorization: Bearer ${token}`), 200)
  const served = backend.seen.length
  for (const path of `/api/%61dmin/x /api/ADMIN/x /api/Admin /api/admin;v=1/x /api/%2561dmin/x /api/./admin/x /api//admin/x
    /api/x/../admin /api/x/..;/admin /api/x%2f..%2fadmin /api\\admin /api/%5cadmin /api/admin%2fx /api/%09admin`.split(
    /\s+/,
  )) {
    const status = await ask(path)
    t.ok(status === 400 || status === 404, `${path}: ${status}`)
  }
  const handshake = ['connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13']
  const status = await ask('/api/admin/x', ...handshake, 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==')
  t.ok(status >= 400, `a handshake: ${status}`)
  t.equal(backend.seen.length, served, 'the service has seen none of them')
})
