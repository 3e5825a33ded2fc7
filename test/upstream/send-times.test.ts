import { once } from 'node:events'
import type { Socket } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startScripted } from '../support/scripted-server.ts'
import { openSender } from '../support/service-sender.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

t.test('each silence of a service has its own limit and name', async (t) => {
  const { origin } = await startScripted(t, (socket, text) => {
    if (text.startsWith('GET /head')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n')
    if (text.startsWith('GET /part')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab')
    if (text.startsWith('GET /hint')) socket.write('HTTP/1.1 103 Early Hints\r\n\r\n')
  })
  const { send } = openSender(t)
  const short = { firstByteMs: 30, idleMs: 30 }
  const sent = { wasSent: true, wasKept: false, isBodys: false }
  const cases: [path: string, status: number | undefined, code: string][] = [
    ['/none', undefined, 'FIRST_BYTE_TIMEOUT'],
    ['/hint', undefined, 'FIRST_BYTE_TIMEOUT'],
    ['/head', 200, 'IDLE_TIMEOUT'],
    ['/part', 200, 'IDLE_TIMEOUT'],
  ]
  for (const [path, status, code] of cases)
    t.match(await send(origin, { path, ...short }).done, { status, error: { code }, sent }, path)
})

t.test('a service that shows life is waited for', async (t) => {
  const { origin } = await startScripted(t, (socket, text) => {
    const isHinting = text.startsWith('GET /hints')
    if (!isHinting) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n')
    let said = 0
    const timer = setInterval(() => {
      said += 1
      socket.write(isHinting ? 'HTTP/1.1 102 Processing\r\n\r\n' : 'x')
      if (said === 6) clearInterval(timer)
      if (said === 6 && isHinting) socket.write(OK)
    }, 250)
    socket.once('close', () => clearInterval(timer))
  })
  const { send } = openSender(t)
  // All of it takes longer than that.
  const short = { firstByteMs: 1_000, idleMs: 1_000 }
  t.match(await send(origin, { path: '/hints', ...short }).done, { status: 200, error: undefined })
  t.match(await send(origin, { path: '/bytes', ...short }).done, {
    text: 'xxxxxx',
    error: undefined,
  })
})

t.test('a reader that is slow costs the service no time, and one that goes on gets all', async (t) => {
  const whole = 'x'.repeat(4 * 1024 * 1024)
  const { origin, sockets } = await startScripted(t, (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${whole.length}\r\n\r\n`)
    socket.write(whole)
  })
  const { send } = openSender(t)
  const { attempt, answered, outcome, done } = send(origin, { idleMs: 50 })
  await answered
  attempt.pause()
  await sleep(20)
  const read = outcome.text.length
  await sleep(300)
  t.equal(outcome.error, undefined)
  t.equal(outcome.text.length, read, 'nothing is read in the meantime')
  t.ok((sockets[0]?.writableLength ?? 0) > 0, 'it waits at the service')
  attempt.resume()
  t.match(await done, { error: undefined })
  t.equal(outcome.text.length, whole.length)
  t.match(await send(origin).done, { status: 200 }, 'and its connection is as good as before')
  t.equal(sockets.length, 1)
})

t.test(
  'a body that is slow to come costs the service no time, a service that does not take it does',
  async (t) => {
    const stuck: Socket[] = []
    const { origin } = await startScripted(
      t,
      (socket, text) => {
        if (text.startsWith('POST /stuck')) {
          socket.pause()
          stuck.push(socket)
        } else if (text.endsWith('end')) socket.write(OK)
      },
      () => true,
    )
    const { send } = openSender(t)
    const slow = new PassThrough()
    const asked = send(origin, { method: 'POST', body: { body: slow, length: 6 }, firstByteMs: 100 })
    slow.write('beg')
    await sleep(400)
    slow.end('end')
    t.match(await asked.done, { status: 200, error: undefined })
    const endless = new Readable({
      read() {
        this.push(Buffer.alloc(64 * 1024))
      },
    })
    const path = '/stuck'
    const body = { body: endless, length: undefined }
    const late = await send(origin, { method: 'POST', path, body, firstByteMs: 100 }).done
    t.match(late, { error: { code: 'FIRST_BYTE_TIMEOUT' }, sent: { wasSent: true, isBodys: false } })
    t.notOk(endless.destroyed)
    const whole = { body: Buffer.alloc(32 * 1024 * 1024), length: undefined }
    const stays = await send(origin, { method: 'POST', path, body: whole, firstByteMs: 100 }).done
    t.match(stays, { error: { code: 'FIRST_BYTE_TIMEOUT' } })
  },
)

t.test('what could not be reached was not sent', async (t) => {
  const { send } = openSender(t, 60_000)
  const body = new PassThrough()
  body.write('x')
  const refused = await send('http://127.0.0.1:1', { method: 'POST', body: { body, length: 1 } }).done
  t.match(refused, {
    error: { code: 'ECONNREFUSED' },
    sent: { wasSent: false, wasKept: false, isBodys: false },
  })
  t.notOk(body.destroyed)
  t.notOk(body.readableDidRead, 'its body can be sent elsewhere')
  const { origin } = await startScripted(t, () => undefined)
  const silent = await send(origin.replace('http:', 'https:'), { connectTimeoutMs: 50 }).done
  t.match(silent, { error: { code: 'CONNECT_TIMEOUT' }, sent: { wasSent: false } }, 'a time of its own')
})

t.test(
  'a kept connection that its service has closed is told as such, and a fresh one is to be had',
  async (t) => {
    const { origin, sockets } = await startScripted(t, (socket, text, connection) => {
      // It closes what it kept at the very moment in which the next request comes.
      if (connection === 1 && text.startsWith('GET /second')) socket.resetAndDestroy()
      else socket.write(OK)
    })
    const { send } = openSender(t)
    t.match(await send(origin).done, { status: 200 })
    const stale = await send(origin, { path: '/second' }).done
    t.match(stale, { status: undefined, sent: { wasSent: true, wasKept: true, isBodys: false } })
    t.match(stale.error, { code: /ECONNRESET|EPIPE|CLOSED_EARLY/ })
    t.match(await send(origin).done, { status: 200 })
    t.equal(sockets.length, 2)
    t.match(await send(origin, { isFresh: true }).done, { status: 200 })
    t.equal(sockets.length, 3, 'though another one was kept')
    const first = openSender(t).send(origin, { path: '/second' })
    t.match(await first.done, { status: 200 })
  },
)

t.test('what a service says to a kept connection that nobody asks on is no answer', async (t) => {
  const { origin, sockets } = await startScripted(t, (socket) => void socket.write(OK))
  const { send } = openSender(t)
  t.match(await send(origin).done, { text: 'ok' })
  const [first] = sockets
  first?.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison')
  if (first) await once(first, 'close')
  t.match(await send(origin).done, { text: 'ok' })
  t.equal(sockets.length, 2)
})

t.test('a request that is given up at any moment closes its connection and hears nothing', async (t) => {
  const { origin, sockets } = await startScripted(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\nbegun')
  })
  const { send } = openSender(t)
  const early = send(origin)
  early.attempt.abort()
  const begun = send(origin)
  await begun.answered
  begun.attempt.abort()
  begun.attempt.pause()
  begun.attempt.resume()
  begun.attempt.abort()
  const [socket] = sockets
  if (socket && !socket.closed) await once(socket, 'close')
  t.equal(sockets.length, 1)
  for (const { outcome } of [early, begun]) t.same([outcome.error, outcome.trailers], [undefined, undefined])
})

t.test('a hundred requests at once have a hundred connections', async (t) => {
  const held: Socket[] = []
  const { origin, sockets } = await startScripted(t, (socket) => {
    if (held.push(socket) === 100) for (const each of held) each.write(OK)
  })
  const { send } = openSender(t)
  const all = Array.from({ length: 100 }, () => send(origin).done)
  for (const outcome of await Promise.all(all)) if (outcome.status !== 200) t.fail(String(outcome.error))
  t.equal(sockets.length, 100)
})
