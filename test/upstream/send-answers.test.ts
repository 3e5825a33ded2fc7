import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { startHastyService } from '../support/hasty-service.ts'
import { startScripted } from '../support/scripted-server.ts'
import { openSender } from '../support/service-sender.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const BAD = { error: { code: 'BAD_ANSWER' } }

t.test('an answer comes with all its fields, apart and in their order', async (t) => {
  const { origin } = await startScripted(t, (socket) => {
    socket.write(
      'HTTP/1.1 299 Fine, th\xe4nks\r\nSet-Cookie: a=1\r\nX-B:  2 \t\r\nset-cookie: b=2\r\nX-Empty:\r\n' +
        'Content-Length: 2\r\n__proto__: x\r\n\r\nhi',
      'latin1',
    )
  })
  t.match(await openSender(t).send(origin).done, {
    status: 299,
    reason: 'Fine, th\xe4nks',
    headers: [
      ...['Set-Cookie', 'a=1', 'X-B', '2', 'set-cookie', 'b=2', 'X-Empty', '', 'Content-Length', '2'],
      ...['__proto__', 'x'],
    ],
    text: 'hi',
    trailers: [],
  })
})

t.test('a head alone is an answer where HTTP says so, and its connection is used again', async (t) => {
  const length = 'content-length: 12345\r\n'
  const cases: [method: string, answer: string, status: number][] = [
    ['HEAD', `HTTP/1.1 200 OK\r\n${length}\r\n`, 200],
    ['HEAD', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', 200],
    ['HEAD', 'HTTP/1.1 404 No\r\ncontent-type: text/html\r\n\r\n', 404],
    ['GET', `HTTP/1.1 204 No Content\r\n${length}\r\n`, 204],
    ['GET', `HTTP/1.1 304 Not Modified\r\n${length}etag: "x"\r\n\r\n`, 304],
    ['GET', 'HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n', 304],
    ['DELETE', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', 200],
    ['GET', `HTTP/1.1 103 Early Hints\r\n${length}\r\n${OK}`, 200],
  ]
  for (const [method, answer, status] of cases) {
    const { origin, sockets } = await startScripted(t, (socket) => void socket.write(answer))
    const { send } = openSender(t)
    for (let i = 0; i < 2; i++)
      t.match(await send(origin, { method }).done, { status, error: undefined }, answer)
    t.equal(sockets.length, 1, answer)
  }
})

t.test('a body ends with its length, its last chunk or its connection', async (t) => {
  const cases: [answer: string, text: string, isKept: boolean][] = [
    [OK, 'ok', true],
    ['HTTP/1.0 200 OK\r\n\r\nold', 'old', false],
    ['HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold', 'old', false],
    ['HTTP/1.1 200 OK\r\n\r\nuntil the end', 'until the end', false],
    ['HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nyes', 'yes', false],
    [
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b;c="d"\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n',
      'abc0123456789',
      true,
    ],
  ]
  for (const [answer, text, isKept] of cases) {
    const { origin, sockets } = await startScripted(t, (socket) => {
      if (isKept) socket.write(answer)
      else socket.end(answer)
    })
    const { send } = openSender(t)
    for (let i = 0; i < 2; i++) t.match(await send(origin).done, { text, error: undefined }, answer)
    t.equal(sockets.length, isKept ? 1 : 2, answer)
  }
})

t.test('trailers come with the end, but for those that no trailer may be', async (t) => {
  const { origin } = await startScripted(t, (socket, _seen, connection) => {
    const fields =
      connection === 1
        ? 'Grpc-Status: 0\r\nset-cookie: a=b\r\nContent-Length: 3\r\nX-Sum:\t1 \r\n'
        : 'x y: 1\r\n'
    socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${fields}\r\n`)
  })
  const { send } = openSender(t)
  t.same((await send(origin).done).trailers, ['Grpc-Status', '0', 'X-Sum', '1'])
  t.match(await send(origin, { isFresh: true }).done, BAD, 'and none that are no fields')
})

t.test('interim answers are told as they come, 100 is not, 101 is a failure', async (t) => {
  const { origin } = await startScripted(t, (socket, _seen, connection) => {
    if (connection > 1) return void socket.write('HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n')
    socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n\r\n')
    setTimeout(() => socket.write(`HTTP/1.1 102 Processing\r\n\r\n${OK}`), 20)
  })
  const { send } = openSender(t)
  const hints = { status: 103, headers: ['Link', '</a>', 'link', '</b>'] }
  t.match(await send(origin).done, { status: 200, informed: [hints, { status: 102, headers: [] }] })
  t.match(await send(origin, { isFresh: true }).done, { status: undefined, ...BAD })
})

t.test('a request that is given up while it is informed hears nothing more', async (t) => {
  const { origin, sockets } = await startScripted(t, (socket) => {
    socket.write(`HTTP/1.1 103 Early Hints\r\n\r\n${OK}`)
  })
  const { upstreams } = openSender(t)
  const request = { method: 'GET', path: '/', headers: [], body: undefined, firstByteMs: 5000, idleMs: 5000 }
  const attempt = upstreams.send(origin, request, {
    informed: () => attempt.abort(),
    answered: () => t.fail('answered'),
    data: () => t.fail('data'),
    ended: () => t.fail('ended'),
    failed: () => t.fail('failed'),
  })
  while (sockets.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  const [socket] = sockets
  if (socket && !socket.closed) await once(socket, 'close')
})

t.test('what two readers could read differently is refused', async (t) => {
  const answers = [
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 3\r\n\r\nok',
    'HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\nx: a\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\nx: a\0\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/2 200\r\ncontent-length: 2\r\n\r\nok',
    'SSH-2.0-OpenSSH_9.2\r\n\r\n',
    `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(65 * 1024)}\r\n\r\n`,
    `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(70 * 1024)}`,
    'HTTP/1.1 102 Processing\r\n\r\n'.repeat(101),
  ]
  for (const answer of answers) {
    const { origin } = await startScripted(t, (socket) => void socket.write(answer))
    t.match(await openSender(t).send(origin).done, BAD, answer.slice(0, 80))
  }
  const long = `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(60 * 1024)}\r\ncontent-length: 2\r\n\r\nok`
  const { origin } = await startScripted(t, (socket) => void socket.write(long))
  t.match(await openSender(t).send(origin).done, { status: 200, text: 'ok' }, 'a long head is none of it')
})

t.test(
  'an answer that comes while the body still leaves passes, and its connection is not used again',
  async (t) => {
    const { origin, sockets } = await startScripted(
      t,
      (socket, text) => {
        if (text.includes('begin')) socket.write('HTTP/1.1 413 Too much\r\ncontent-length: 2\r\n\r\nno')
        else if (!text.startsWith('POST')) socket.write(OK)
      },
      () => true,
    )
    const { send } = openSender(t)
    for (const length of [1000, undefined]) {
      const body = new PassThrough()
      body.write('begin')
      const asked = send(origin, { method: 'POST', body: { body, length } })
      t.match(await asked.done, { status: 413, text: 'no', error: undefined })
      t.notOk(body.destroyed, 'the body is its owner’s')
      t.ok(body.isPaused(), 'who drains it')
      t.equal(body.listenerCount('data'), 0)
      const [socket, before] = [sockets.at(-1), sockets.length]
      t.match(await send(origin).done, { status: 200 })
      if (length === 1000) t.equal(sockets.length, before + 1, 'half a request stands on the other one')
      if (socket && !socket.closed) await once(socket, 'close')
    }
  },
)

t.test('an answer whose body goes on as long as the request’s does reaches its end', async (t) => {
  let isBegun = false
  const { origin, sockets } = await startScripted(
    t,
    (socket, text) => {
      if (!isBegun) socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
      isBegun = true
      for (const word of text.matchAll(/word\d/g)) socket.write(`5\r\n${word[0]}\r\n`)
      if (text.endsWith('0\r\n\r\n')) socket.write('0\r\nx-count: 3\r\n\r\n')
    },
    () => true,
  )
  const { send } = openSender(t)
  const body = new PassThrough()
  const asked = send(origin, { method: 'POST', body: { body, length: undefined } })
  await asked.answered
  for (const word of ['word1', 'word2', 'word3']) {
    body.write(word)
    while (!asked.outcome.text.endsWith(word)) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  body.end()
  t.match(await asked.done, { status: 200, text: 'word1word2word3', trailers: ['x-count', '3'] })
  t.equal(sockets.length, 1)
})

t.test('a service that answers in the middle of a body and hangs up is heard', async (t) => {
  const hasty = await startHastyService(t)
  const { send } = openSender(t)
  const heard: (number | undefined)[] = []
  const all = Promise.withResolvers<void>()
  const entry = createServer((client) => {
    const body = { body: client.on('error', () => undefined), length: undefined }
    void send(`http://127.0.0.1:${hasty.port}`, { method: 'POST', body }).done.then(({ status }) => {
      client.destroy()
      if (heard.push(status) === 200) all.resolve()
    })
  }).listen(0, '127.0.0.1')
  await once(entry, 'listening')
  t.teardown(() => entry.close())
  hasty.pushTo((entry.address() as AddressInfo).port)
  hasty.pushTo((entry.address() as AddressInfo).port)
  await all.promise
  t.equal(heard.filter((status) => status !== 413).length, 0)
})
