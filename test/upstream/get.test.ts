import t from 'tap'
import { get } from '../../src/upstream/get.ts'
import { startScripted } from '../support/scripted-server.ts'
import { openSender } from '../support/service-sender.ts'

const RULES = { timeoutMs: 5_000, maxBytes: 100 }

t.test('a small document comes whole, and no redirect is followed', async (t) => {
  const seen: string[] = []
  const { origin, sockets } = await startScripted(t, (socket, text) => {
    seen.push(text)
    if (text.startsWith('GET /moved'))
      socket.write('HTTP/1.1 302 Found\r\nlocation: /keys\r\ncontent-length: 0\r\n\r\n')
    else
      socket.write(
        'HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nvary: a\r\nVary: b\r\n__proto__: x\r\ntransfer-encoding: chunked\r\n\r\n' +
          '2\r\n{"\r\n4\r\na":1\r\n1\r\n}\r\n0\r\n\r\n',
      )
  })
  const { upstreams } = openSender(t)
  const { status, body } = await get(upstreams, new URL(`${origin}/keys?x=1#top`), RULES)
  t.equal(status, 200)
  t.same(JSON.parse(body.toString()), { a: 1 })
  t.match(seen[0], /^GET \/keys\?x=1 HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\n\r\n$/)
  t.match(await get(upstreams, new URL(`${origin}/moved`), RULES), { status: 302 })
  t.equal(sockets.length, 1)
})

t.test('one that is late, long, broken or not to be had is a failure', async (t) => {
  const { origin, sockets } = await startScripted(t, (socket, text) => {
    const path = /^GET (\S+)/.exec(text)?.[1] ?? ''
    if (path === '/drips') {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n')
      const drip = setInterval(() => socket.write('x'), 20)
      socket.once('close', () => clearInterval(drip))
    }
    if (path === '/long') socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n${'x'.repeat(101)}`)
    if (path === '/cut') socket.end('HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\nx')
    if (path === '/odd') socket.end('no HTTP\r\n\r\n')
  })
  const { upstreams } = openSender(t)
  const cases: [path: string, code: string][] = [
    ['/silent', 'ANSWER_TIMEOUT'],
    ['/drips', 'ANSWER_TIMEOUT'],
    ['/long', 'BAD_ANSWER'],
    ['/cut', 'CLOSED_EARLY'],
    ['/odd', 'BAD_ANSWER'],
  ]
  for (const [path, code] of cases) {
    const timeoutMs = code === 'ANSWER_TIMEOUT' ? 150 : 5_000
    await t.rejects(get(upstreams, new URL(path, origin), { ...RULES, timeoutMs }), { code }, path)
    const socket = sockets.at(-1)
    // A reset is an end as any other.
    if (socket && !socket.closed) await new Promise((closed) => socket.once('close', closed))
  }
  await t.rejects(get(upstreams, new URL('http://127.0.0.1:1/'), RULES), { code: 'ECONNREFUSED' })
})
