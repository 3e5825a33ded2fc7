import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { guard } from '../../src/entrance/arrival.ts'
import { ownUpgrades, shouldUpgrade } from '../../src/websocket/handshake.ts'
import { handshakeCheck, upgrade } from '../../src/websocket/upgrade.ts'
import { statusOf } from '../support/hostile.ts'
import { hearUntilEnd } from '../support/last-word.ts'
import { handshakeText } from '../support/raw-socket.ts'

const TIMEOUT_MS = 300
const answer = (status: number) => (socket: Socket) =>
  void socket.end(`HTTP/1.1 ${status} Late\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)

/** A server whose hooks stand before the WebSocket room, and answer in every way there is. */
async function openServer(t: Test, hasRoom: boolean): Promise<number> {
  const app = Fastify({ http: { shouldUpgradeCallback: shouldUpgrade } })
  t.teardown(() => app.close())
  ownUpgrades(app, {
    timeoutMs: TIMEOUT_MS,
    routeTimeoutMs: TIMEOUT_MS,
    answerLate: answer(504),
    answerEarly: answer(400),
  })
  app.addHook('onRequest', async ({ url }, reply) => {
    if (url === '/thrown') throw Object.assign(new Error('no'), { statusCode: 403 })
    if (url === '/sent') return reply.code(403).send('no')
    if (url === '/raw') {
      reply.hijack()
      reply.raw.writeHead(403, { connection: 'keep-alive' }).end('no')
    }
    if (url === '/half') {
      reply.hijack()
      reply.raw.writeHead(403).write('n')
    }
    if (url === '/never') await new Promise(() => undefined)
    return undefined
  })
  if (hasRoom) await app.register(guard, { ofGets: handshakeCheck(() => true) })
  if (hasRoom) await app.register(upgrade)
  app.get('/plain', () => 'here')
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

t.test('whoever answers a handshake, in whatever hook, its socket is gone within a second', async (t) => {
  const port = await openServer(t, true)
  const cases: [string, number][] = [
    ['/thrown', 403],
    ['/sent', 403],
    ['/raw', 403],
    ['/half', 403],
    ['/never', 504],
    ['/plain', 426],
    ['/nowhere', 404],
  ]
  for (const [path, status] of cases) {
    const started = performance.now()
    const { text, endedAfterMs } = await hearUntilEnd(t, port, handshakeText({ path }))
    t.equal(statusOf(text), status, path)
    t.ok(endedAfterMs !== undefined && performance.now() - started < TIMEOUT_MS + 1_000, path)
  }
})

t.test('without a WebSocket room a handshake is still answered', async (t) => {
  const port = await openServer(t, false)
  const { text } = await hearUntilEnd(t, port, handshakeText({ path: '/plain' }))
  t.equal(statusOf(text), 504)
})

t.test('a server that closes waits for no handshake', async (t) => {
  const app = Fastify({ http: { shouldUpgradeCallback: shouldUpgrade } })
  ownUpgrades(app, {
    timeoutMs: 60_000,
    routeTimeoutMs: 60_000,
    answerLate: answer(504),
    answerEarly: answer(400),
  })
  const asked = Promise.withResolvers<void>()
  app.addHook('onRequest', () => {
    asked.resolve()
    return new Promise(() => undefined)
  })
  await app.register(upgrade)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const heard = hearUntilEnd(t, port, handshakeText({ path: '/' }))
  await asked.promise
  const closed = once(app.server, 'close')
  await app.close()
  await closed
  t.equal(statusOf((await heard).text), 504)
})
