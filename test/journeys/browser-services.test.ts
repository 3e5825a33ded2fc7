import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { WebSocketServer } from 'ws'
import { findBrowser, startSite } from '../support/browser.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { servicesFile } from '../support/services-file.ts'
import type { Owner } from '../support/waiting.ts'

const browser = findBrowser()

/** A backend that knows its users by a cookie: it says what it saw, as JSON, as an event and over a socket. */
async function startBackend(t: Owner) {
  const seen: IncomingMessage[] = []
  const server = createServer(async (request, response) => {
    seen.push(request)
    const { method, url = '', headers } = request
    const body = await text(request)
    const said = JSON.stringify({ method, url, cookie: headers.cookie, body })
    if (url === '/login') response.setHeader('set-cookie', 'sid=ann; Path=/; HttpOnly')
    if (url !== '/events') return response.end(said)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`data: ${said}\n\n`)
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, { headers }) => socket.send(JSON.stringify({ cookie: headers.cookie })))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

/** Asks in every way that a page has, and reports what it could read; a word where it could not. */
const pageScript = (url: string, token: string): string => `
const base = ${JSON.stringify(url)}
const read = (path, options) =>
  fetch(base + path, options).then(
    async (answer) => ({ status: answer.status, id: answer.headers.has('x-request-id'), ...(await answer.json()) }),
    ({ name }) => name,
  )
const listen = () => new Promise((resolve) => {
  const events = new EventSource(base + '/app/events', { withCredentials: true })
  events.onmessage = ({ data }) => { events.close(); resolve(JSON.parse(data)) }
  events.onerror = () => { events.close(); resolve('error') }
})
const connect = () => new Promise((resolve) => {
  const socket = new WebSocket(base.replace('http', 'ws') + '/app/socket')
  socket.onmessage = ({ data }) => { socket.close(); resolve(JSON.parse(data)) }
  socket.onclose = ({ code }) => resolve(code)
})
const authorization = 'Bearer ' + ${JSON.stringify(token)}
const json = { 'content-type': 'application/json' }
const run = async () => ({
  login: await read('/app/login', { method: 'POST', credentials: 'include' }),
  me: await read('/app/me', { credentials: 'include' }),
  put: await read('/api/items/1', { method: 'PUT', headers: { ...json, authorization }, body: '{"a":1}' }),
  refused: await read('/api/items/1', { headers: { authorization: 'Bearer wrong' } }),
  event: await listen(),
  socket: await connect(),
})
run().then(report)
`

t.test(
  'a page of an allowed origin reads, writes, listens and connects with its cookies; another one does nothing',
  browser === undefined ? { skip: 'no browser found: apt-get install chromium' } : {},
  async (t) => {
    const backend = await startBackend(t)
    let script = ''
    const site = await startSite(t, { browser: browser ?? '', script: () => script })
    const cors = { origins: [`http://127.0.0.1:${site.port}`], credentials: true }
    const gateway = await startGateway(t, {
      modelsFile: servicesFile(t, {
        '/app': { to: backend.url, auth: 'open', cookies: true, cors },
        '/api': { to: backend.url, cors },
      }),
    })
    script = pageScript(gateway.url, await mintToken(t, gateway))
    const cookie = 'sid=ann'
    t.match(await site.visit('127.0.0.1'), {
      login: { status: 200, id: true, method: 'POST', url: '/login' },
      me: { status: 200, url: '/me', cookie },
      put: { status: 200, id: true, method: 'PUT', url: '/items/1', body: '{"a":1}', cookie: undefined },
      refused: { status: 401, error: { code: 'invalid_api_key' } },
      event: { url: '/events', cookie },
      socket: { cookie },
    })
    t.notOk(
      backend.seen.some(({ method }) => method === 'OPTIONS'),
      "preflights are the gateway's to answer",
    )
    const before = backend.seen.filter(({ method }) => method === 'PUT').length
    t.same(await site.visit('localhost'), {
      login: 'TypeError',
      me: 'TypeError',
      put: 'TypeError',
      refused: 'TypeError',
      event: 'error',
      socket: 1006,
    })
    t.equal(
      backend.seen.filter(({ method }) => method === 'PUT').length,
      before,
      'its preflight got no leave',
    )
  },
)
