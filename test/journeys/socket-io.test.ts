import t from 'tap'
import { mintToken, startGateway } from '../support/gateway.ts'
import { servicesFile } from '../support/services-file.ts'
import { connected, joinChat, startChat, transportOf, upgraded } from '../support/socket-io.ts'

const STRIPPED = '/api/messaging/socket.io/'

/** Field of a query, wherever it stands. */
const sidOf = (url: string | undefined): string | undefined => /[?&]sid=([^&]*)/.exec(url ?? '')?.[1]

t.test('R0: MESSAGING_SERVICE_URL serves Socket.IO, polling first and a WebSocket then', async (t) => {
  const chat = await startChat(t)
  const gateway = await startGateway(t, {
    env: { MESSAGING_SERVICE_URL: chat.url, INTERNAL_API_KEY: 'internal-key-of-this-test' },
  })
  const token = await mintToken(t, gateway)
  const extraHeaders = { authorization: `Bearer ${token}`, 'x-internal-api-key': 'forged' }
  const client = joinChat(t, gateway.url, { path: STRIPPED, extraHeaders })
  await connected(client)
  await upgraded(client)
  t.equal(await client.emitWithAck('hello', 'ann'), 'chat says ann')
  const [first] = chat.seen
  const handshake = chat.seen.find(({ headers }) => headers.upgrade === 'websocket')
  t.match(first?.url, /^\/socket\.io\/\?EIO=4&transport=polling/)
  t.match(handshake?.url, /^\/socket\.io\/\?EIO=4&transport=websocket&sid=/)
  const sids = new Set(chat.seen.map(({ url }) => sidOf(url)).filter((sid) => sid !== undefined))
  t.equal(sids.size, 1, 'one session for both transports')
  for (const request of chat.seen)
    t.match(request.headers, {
      'x-internal-api-key': 'internal-key-of-this-test',
      'x-token-user': 'testuser',
    })
  t.equal(handshake?.headers['sec-websocket-extensions'], undefined, 'permessage-deflate is not negotiated')
  t.notOk(JSON.stringify(chat.seen.map(({ rawHeaders }) => rawHeaders)).includes(token))
  // A browser can put no header on a WebSocket.
  const protocols = ['realtime', `openai-insecure-api-key.${token}`]
  const page = joinChat(t, gateway.url, { path: STRIPPED, transports: ['websocket'], protocols })
  await connected(page)
  t.equal(await page.emitWithAck('hello', 'bob'), 'chat says bob')
  const stranger = joinChat(t, gateway.url, { path: STRIPPED, reconnection: false })
  await t.rejects(connected(stranger))
  t.notOk(stranger.connected)
})

const kept = await startChat(t, { path: '/live/socket.io' })
const alone = await startChat(t)
const brief = await startChat(t)
const chats = [await startChat(t, { name: 'one' }), await startChat(t, { name: 'two' })]
const gateway = await startGateway(t, {
  modelsFile: servicesFile(t, {
    '/live': { to: kept.url, path: 'keep', auth: 'open' },
    '/alone': { to: alone.url, auth: 'open' },
    '/brief': { to: brief.url, auth: 'open' },
    '/two': { to: chats.map(({ url }) => url), auth: 'open', sticky: { cookie: 'chat-at' } },
  }),
  env: { UNAUTHENTICATED_PER_MINUTE: '1000000' },
})

t.test('a route that keeps its path serves it as well, and a client with WebSockets alone', async (t) => {
  for (const transports of [['polling', 'websocket'], ['websocket'], ['polling']]) {
    const client = joinChat(t, gateway.url, { path: '/live/socket.io/', transports })
    await connected(client)
    if (transports.includes('websocket')) await upgraded(client)
    t.equal(await client.emitWithAck('hello', 'bob'), 'chat says bob', transports.join())
    t.equal(transportOf(client), transports.at(-1))
    client.disconnect()
  }
})

t.test('a long poll is neither held nor cut: what the server says arrives when it is said', async (t) => {
  const client = joinChat(t, gateway.url, { path: '/alone/socket.io/', transports: ['polling'] })
  await connected(client)
  const before = alone.seen.length
  const asked = performance.now()
  client.emit('later', 1500)
  await new Promise((resolve) => client.once('event', resolve))
  const waitedMs = performance.now() - asked
  t.ok(waitedMs >= 1400 && waitedMs < 2500, `${Math.round(waitedMs)} ms`)
  const polls = alone.seen.slice(before).filter(({ method }) => method === 'GET')
  t.ok(polls.length <= 2, `${polls.length} polls: none was cut and asked again`)
})

t.test('with two targets a session stays with the one that it began with, by the cookie', async (t) => {
  const names = new Set<string>()
  for (let count = 0; count < 6; count += 1) {
    const client = joinChat(t, gateway.url, { path: '/two/socket.io/', withCredentials: true })
    await connected(client)
    await upgraded(client)
    names.add(await client.emitWithAck('hello', 'ann'))
    client.disconnect()
  }
  t.equal(names.size, 2, 'both have sessions')
  for (const { seen } of chats) t.ok(seen.some(({ headers }) => headers.upgrade === 'websocket'))
})

t.test('clients come back when the service was started anew, and hear that it is gone at once', async (t) => {
  const clients = [['websocket'], ['polling'], ['polling', 'websocket']].map((transports) =>
    joinChat(t, gateway.url, { path: '/brief/socket.io/', transports }),
  )
  await Promise.all(clients.map(connected))
  const gone = clients.map((client) => new Promise<string>((resolve) => client.once('disconnect', resolve)))
  await brief.stop()
  for (const reason of await Promise.all(gone)) t.match(reason, /transport (close|error)/)
  const back = clients.map((client) => new Promise<void>((resolve) => client.once('connect', resolve)))
  await startChat(t, { name: 'anew', port: brief.port })
  await Promise.all(back)
  for (const client of clients) t.equal(await client.emitWithAck('hello', 'ann'), 'anew says ann')
})
