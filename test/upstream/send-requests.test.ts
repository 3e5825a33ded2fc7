import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import t from 'tap'
import type { ServiceRequest } from '../../src/upstream/service-call.ts'
import { startScripted } from '../support/scripted-server.ts'
import { openSender } from '../support/service-sender.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const stream = (...pieces: string[]): Readable => Readable.from(pieces.map((piece) => Buffer.from(piece)))

t.test('a request leaves with its own method, path and headers, and only the framing it needs', async (t) => {
  const seen: string[] = []
  const { origin } = await startScripted(
    t,
    (socket, text) => {
      seen.push(text)
      socket.write(/^HEAD/.test(text) ? 'HTTP/1.1 204 x\r\n\r\n' : OK)
    },
    (text) => !text.includes('chunked') || text.endsWith('\r\n\r\n'),
  )
  const { send } = openSender(t)
  const { host } = new URL(origin)
  const bytes = { body: Buffer.from('hello'), length: undefined }
  const cases: [special: Partial<ServiceRequest>, wire: string][] = [
    [{}, `GET /x HTTP/1.1\r\nhost: ${host}\r\n\r\n`],
    [
      { headers: ['X-A', '1', 'x-b', '', 'x-A', ' \t3', 'x-latin', '\xe9'] },
      `GET /x HTTP/1.1\r\nhost: ${host}\r\nX-A: 1\r\nx-b: \r\nx-A:  \t3\r\nx-latin: \xe9\r\n\r\n`,
    ],
    [
      { path: '/a%2F..//b;c=\\?q="\xfc"&<>' },
      `GET /a%2F..//b;c=\\?q="\xfc"&<> HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
    ],
    [{ method: 'OPTIONS', path: '*' }, `OPTIONS * HTTP/1.1\r\nhost: ${host}\r\n\r\n`],
    [{ method: 'DELETE' }, `DELETE /x HTTP/1.1\r\nhost: ${host}\r\n\r\n`],
    [{ method: 'POST' }, `POST /x HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 0\r\n\r\n`],
    [{ method: 'PUT' }, `PUT /x HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 0\r\n\r\n`],
    [{ method: 'PATCH' }, `PATCH /x HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 0\r\n\r\n`],
    [
      { method: 'PROPFIND', body: bytes },
      `PROPFIND /x HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 5\r\n\r\nhello`,
    ],
    [{ body: bytes }, `GET /x HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 5\r\n\r\nhello`],
    [
      { method: 'PUT', body: { body: stream('a', '', 'bc'), length: 3 } },
      `PUT /x HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 3\r\n\r\nabc`,
    ],
    [
      { method: 'DELETE', body: { body: stream('a', '', 'bc'), length: undefined } },
      `DELETE /x HTTP/1.1\r\nhost: ${host}\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n`,
    ],
    [
      { method: 'POST', body: { body: stream(), length: undefined } },
      `POST /x HTTP/1.1\r\nhost: ${host}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
  ]
  for (const [special, wire] of cases) {
    seen.length = 0
    await send(origin, special).done
    t.equal(seen.join(''), wire)
  }
})

t.test(
  'what stands behind a body in chunks is asked for at its end, and says nothing it may not',
  async (t) => {
    let seen = ''
    const { origin } = await startScripted(
      t,
      (socket, text) => {
        seen = text
        socket.write(OK)
      },
      (text) => /\r\n0\r\n(.*\r\n)*\r\n$/.test(text),
    )
    const { send } = openSender(t)
    const said = [
      'X-Sum',
      '1',
      'content-length',
      '5',
      'Set-Cookie',
      'a=b',
      'x bad',
      '1',
      'x-bad',
      'a\r\nb: c',
      'grpc-status',
      '0',
    ]
    let trailers: string[] = []
    const body = new PassThrough()
    const asked = send(origin, {
      method: 'POST',
      body: { body, length: undefined },
      trailers: () => trailers,
    })
    body.write('a')
    trailers = said
    body.end()
    t.match(await asked.done, { status: 200 })
    t.equal(seen.slice(seen.indexOf('\r\n\r\n') + 4), '1\r\na\r\n0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\n')
  },
)

t.test('nothing that ends a line, or speaks for the gateway, leaves', async (t) => {
  const { origin } = await startScripted(
    t,
    () => t.fail('it left'),
    () => true,
  )
  const { send } = openSender(t)
  const bad: Partial<ServiceRequest>[] = [
    ...['GET\r\n', 'G ET', '', 'GET\0', 'CONNECT', 'GÉT', 'GET:'].map((method) => ({ method })),
    ...['', '/a b', '/a\r\nx: y', '/a\nb', '/a\0', '/a\tb', '/\x7f', '/\u0100'].map((path) => ({ path })),
    ...['x y', 'x:', '', 'x\r\ny', 'x\0', 'é', 'Host', 'content-length', 'Transfer-Encoding', 'upgrade'].map(
      (name) => ({ headers: ['x-a', '1', name, '1'] }),
    ),
    ...['a\r\nb: c', 'a\nb', 'a\0', 'a\x7f', 'a\u0100'].map((value) => ({ headers: ['x-a', value] })),
  ]
  for (const special of bad) {
    const { error, sent } = await send(origin, special).done
    t.match(error, { statusCode: 400 }, JSON.stringify(special))
    t.match(sent, { wasSent: false })
  }
})

t.test(
  'a body that was asked to wait leaves when the service asks for it, or says nothing for a second',
  async (t) => {
    const { origin } = await startScripted(
      t,
      (socket, text) => {
        if (text.startsWith('PUT /asks') && !text.endsWith('hello'))
          socket.write('HTTP/1.1 100 Continue\r\n\r\n')
        else if (text.startsWith('PUT /refuses'))
          socket.write('HTTP/1.1 417 No\r\ncontent-length: 2\r\n\r\nno')
        else if (text.endsWith('hello')) socket.write(OK)
      },
      () => true,
    )
    const { send } = openSender(t)
    const ask = (path: string, special: Partial<ServiceRequest> = {}) => {
      const body = stream('hello')
      const from = performance.now()
      const asked = send(origin, {
        method: 'PUT',
        path,
        headers: ['Expect', '100-Continue'],
        body: { body, length: 5 },
        ...special,
      })
      return asked.done.then((outcome) => ({ outcome, body, ms: performance.now() - from }))
    }
    const asks = await ask('/asks')
    t.match(asks.outcome, { status: 200, text: 'ok', informed: [] })
    t.ok(asks.ms < 500, `${asks.ms} ms`)
    const silent = await ask('/silent')
    t.match(silent.outcome, { status: 200 })
    t.ok(silent.ms > 900, `${silent.ms} ms`)
    const refuses = await ask('/refuses')
    t.match(refuses.outcome, { status: 417, text: 'no', error: undefined })
    t.notOk(refuses.body.destroyed, 'it is its owner’s')
    t.notOk(refuses.body.readableDidRead, 'and not begun')
  },
)

t.test('a body that breaks off is told as such, wherever it does', async (t) => {
  const { origin, sockets } = await startScripted(t, () => undefined)
  const { send } = openSender(t)
  const broken = new PassThrough()
  const asked = send(origin, { method: 'POST', body: { body: broken, length: 10 } })
  broken.write('a')
  setTimeout(() => broken.destroy(new Error('the client left')), 20)
  const { error, sent } = await asked.done
  t.match(error, { message: 'the client left' })
  t.same(sent, { wasSent: true, wasKept: false, isBodys: true })
  const [first] = sockets
  if (first && !first.closed) await once(first, 'close')
  const gone = new PassThrough().on('error', () => undefined)
  gone.destroy()
  await once(gone, 'close')
  const late = await send(origin, { method: 'POST', body: { body: gone, length: 10 } }).done
  t.match(late, { error: { code: 'BODY_MISMATCH' }, sent: { isBodys: true } }, 'before it was begun')
  for (const length of [2, 4]) {
    const wrong = await send(origin, { method: 'POST', body: { body: stream('abc'), length } }).done
    t.match(wrong, { error: { code: 'BODY_MISMATCH' }, sent: { wasSent: true, isBodys: true } })
  }
})
