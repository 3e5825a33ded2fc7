import t from 'tap'
import { startByteBackend } from '../support/byte-backend.ts'
import { openServiceGateway } from '../support/service-gateway.ts'
import { openWire } from '../support/wire.ts'

t.test('a socket of a page that only a star lets in has no cookies of this host’s users', async (t) => {
  const backend = await startByteBackend(t, ({ socket }) => void socket.end('HTTP/1.1 403 No\r\n\r\n'))
  const targets = [{ origin: backend.origin, basePath: '' }]
  const starred = { origins: ['https://*.example.com'], credentials: true }
  const gateway = await openServiceGateway(
    t,
    [
      { prefix: '/ws', entry: 'open', cookies: true, targets },
      { prefix: '/said', entry: 'open', cookies: true, targets, cors: starred },
    ],
    { env: { CORS_ALLOWLIST: 'https://*.example.app,https://named.example.app' } },
  )
  const cookieFrom = async (origin: string, path = '/ws/live') => {
    const lines = [
      ...[`GET ${path} HTTP/1.1`, 'host: mine.example.app', 'connection: upgrade', 'upgrade: websocket'],
      ...['sec-websocket-version: 13', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==', 'cookie: sid=1'],
      ...(origin === '' ? [] : [`origin: ${origin}`]),
    ]
    const before = backend.seen.length
    await openWire(t, gateway.port, `${lines.join('\r\n')}\r\n\r\n`).whole()
    t.equal(backend.seen.length, before + 1, origin)
    return backend.seen.at(-1)?.field('cookie')
  }
  t.equal(await cookieFrom('https://anybody.example.app'), undefined)
  for (const origin of ['', 'https://named.example.app', 'https://mine.example.app'])
    t.equal(await cookieFrom(origin), 'sid=1', origin)
  t.equal(await cookieFrom('https://a.example.com', '/said/live'), 'sid=1', 'where the row says so')
})
