import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'
import t from 'tap'
import { Deadlines } from '../../src/deadlines.ts'
import type { ProviderRequest } from '../../src/upstream/provider-call.ts'
import { openUpstreams } from '../../src/upstream/upstreams.ts'
import { makeCertificates } from '../support/certificates.ts'

interface Owner {
  teardown(close: () => unknown): void
}
/** What one connection of the server does with what it has read so far. */
type Script = (socket: Socket, seen: string, connection: number) => void

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const isWhole = (seen: string) => seen.endsWith('\r\n\r\nhello')

/** A raw server that runs `script` whenever a whole request is there. */
async function serve(t: Owner, script: Script, isRequest = isWhole) {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    const connection = sockets.push(socket)
    let seen = ''
    socket
      .on('error', () => undefined)
      .on('data', (bytes) => {
        seen += bytes.toString('latin1')
        if (!isRequest(seen)) return
        const whole = seen
        seen = ''
        script(socket, whole, connection)
      })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets }
}

interface Outcome {
  status?: number
  text: string
  error?: Error & { code?: string }
}

function open(t: Owner, connectTimeoutMs = 5000) {
  const upstreams = openUpstreams({ connectTimeoutMs }, new Deadlines())
  t.teardown(() => upstreams.close())
  const ask = (origin: string, special: Partial<ProviderRequest> = {}, wants = true) => {
    const outcome: Outcome = { text: '' }
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    const answered = Promise.withResolvers<void>()
    const request: ProviderRequest = {
      path: '/v1/x',
      headers: ['x-a', '1'],
      body: { body: Buffer.from('hello'), length: undefined },
      answerTimeoutMs: 5000,
      idleTimeoutMs: 5000,
      ...special,
    }
    const attempt = upstreams.ask(origin, request, {
      answered(status) {
        outcome.status = status
        answered.resolve()
        return wants
      },
      data(bytes) {
        outcome.text += bytes.toString()
      },
      ended: () => resolve(outcome),
      failed(error) {
        outcome.error = error
        resolve(outcome)
      },
    })
    return { attempt, outcome, done: promise, answered: answered.promise }
  }
  return { upstreams, ask }
}

t.test(
  'a connection is used again after a whole answer, and a request leaves as it was asked for',
  async (t) => {
    const seen: string[] = []
    const { origin, sockets } = await serve(t, (socket, text) => {
      seen.push(text)
      socket.write(OK)
    })
    const { ask } = open(t)
    for (let i = 0; i < 3; i++) t.match(await ask(origin).done, { status: 200, text: 'ok' })
    t.equal(sockets.length, 1)
    const host = new URL(origin).host
    t.equal(seen[0], `POST /v1/x HTTP/1.1\r\nhost: ${host}\r\nx-a: 1\r\ncontent-length: 5\r\n\r\nhello`)
  },
)

t.test('a connection that cannot be trusted carries no second request', async (t) => {
  const answers: Record<string, string> = {
    'says so': 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok',
    'is of HTTP/1.0': 'HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok',
    'has more behind its end': `${OK}HTTP/1.1 200 OK\r\n`,
    'asks to be left soon': 'HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok',
  }
  for (const [name, answer] of Object.entries(answers)) {
    const { origin, sockets } = await serve(t, (socket) => void socket.write(answer))
    const { ask } = open(t)
    for (let i = 0; i < 2; i++)
      t.match(await ask(origin).done, { status: 200, text: 'ok', error: undefined }, name)
    t.equal(sockets.length, 2, name)
  }
})

t.test('bytes that nobody asked for, or a hang-up while idle, cost no request', async (t) => {
  for (const spoil of [(socket: Socket) => void socket.write(OK), (socket: Socket) => void socket.end()]) {
    const { origin, sockets } = await serve(t, (socket) => void socket.write(OK))
    const { ask } = open(t)
    await ask(origin).done
    const [first] = sockets
    if (!first) throw new Error('no connection')
    const closed = once(first, 'close')
    spoil(first)
    await closed
    t.match(await ask(origin).done, { status: 200, text: 'ok' })
    t.equal(sockets.length, 2)
  }
})

t.test('interim answers are passed over; a switch of protocols is not followed', async (t) => {
  const last = OK.replace('content-length', 'connection: close\r\ncontent-length')
  const early = 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'
  const { origin } = await serve(t, (socket, _seen, connection) => {
    socket.write(
      connection === 1 ? `HTTP/1.1 100 Continue\r\n\r\n${early}${last}` : 'HTTP/1.1 101 Switching\r\n\r\n',
    )
  })
  const { ask } = open(t)
  t.match(await ask(origin).done, { status: 200, text: 'ok' })
  t.match(await ask(origin).done, { status: undefined, error: { code: 'BAD_ANSWER' } })
  const flood = await serve(t, (socket) => void socket.write(early.repeat(20)))
  t.match(await ask(flood.origin).done, { error: { code: 'BAD_ANSWER' } })
})

t.test('an answer cut short is a failure, one that ends with its connection is not', async (t) => {
  const { origin } = await serve(t, (socket, _seen, connection) => {
    if (connection === 1) socket.end('HTTP/1.1 200 OK\r\n\r\nuntil the end')
    else if (connection === 2) socket.end('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok')
    else if (connection === 3) socket.end('HTTP/1.1 200 O')
    else {
      socket.write('HTTP/1.1 200 OK\r\n\r\nreset')
      setImmediate(() => socket.resetAndDestroy())
    }
  })
  const { ask } = open(t)
  t.match(await ask(origin).done, { status: 200, text: 'until the end', error: undefined })
  t.match(await ask(origin).done, { status: 200, text: 'ok', error: { code: 'CLOSED_EARLY' } })
  t.match(await ask(origin).done, { status: undefined, error: { code: 'CLOSED_EARLY' } })
  t.match((await ask(origin).done).error, { code: 'ECONNRESET' })
})

t.test('each patience has its own end, and a paused answer none', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n'
  const { origin } = await serve(t, (socket, _seen, connection) => {
    if (connection > 1) socket.write(connection === 2 ? head : `${head}ab`)
  })
  const { ask } = open(t)
  t.match(await ask(origin, { answerTimeoutMs: 30 }).done, { error: { code: 'FIRST_BYTE_TIMEOUT' } })
  const silent = await ask(origin, { answerTimeoutMs: 30 }).done
  t.match(silent, { status: 200, error: { code: 'FIRST_BYTE_TIMEOUT' } }, 'a head is no byte of a stream')
  t.match(await ask(origin, { idleTimeoutMs: 30 }).done, { text: 'ab', error: { code: 'IDLE_TIMEOUT' } })
  const paused = ask(origin, { idleTimeoutMs: 30 })
  await paused.answered
  paused.attempt.pause()
  const patience = new Promise((resolve) => setTimeout(resolve, 120, 'still waiting'))
  t.equal(await Promise.race([paused.done, patience]), 'still waiting')
  paused.attempt.resume()
  t.match(await paused.done, { error: { code: 'IDLE_TIMEOUT' } })
  // Over TLS a server that accepts and says nothing is not reached.
  const tls = origin.replace('http:', 'https:')
  t.match(await open(t, 50).ask(tls).done, { error: { code: 'CONNECT_TIMEOUT' } })
  t.match((await ask('http://127.0.0.1:1').done).error, { code: 'ECONNREFUSED' })
})

t.test('a whole answer has one patience, to its end, however its bytes come', async (t) => {
  const { origin } = await serve(t, (socket, _seen, connection) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\na')
    const more = setInterval(() => socket.write('b'), connection === 1 ? 120 : 400)
    socket.once('close', () => clearInterval(more))
  })
  const { ask } = open(t)
  const whole = { idleTimeoutMs: undefined }
  t.match(await ask(origin, whole).done, { text: 'abb', error: undefined })
  const slow = await ask(origin, { ...whole, answerTimeoutMs: 600 }).done
  t.match(slow, { text: 'ab', error: { code: 'ANSWER_TIMEOUT' } }, 'a byte begins it not again')
})

t.test('a refused answer that never ends is let go of soon', async (t) => {
  const { origin, sockets } = await serve(t, (socket) => {
    socket.write('HTTP/1.1 500 x\r\ncontent-length: 9\r\n\r\na')
  })
  const { ask } = open(t)
  const call = ask(origin, { answerTimeoutMs: 600_000, idleTimeoutMs: undefined }, false)
  await call.answered
  const [socket] = sockets
  const from = performance.now()
  if (socket) await once(socket, 'close')
  const ms = performance.now() - from
  t.ok(ms > 1500 && ms < 4000, `${Math.round(ms)} ms`)
})

t.test('an aborted call closes its connection at once and reports nothing more', async (t) => {
  const { origin, sockets } = await serve(t, (socket) => void socket.write('HTTP/1.1 200 OK\r\n\r\nbegun'))
  const { ask, upstreams } = open(t)
  const call = ask(origin)
  await call.answered
  const [first] = sockets
  if (!first) throw new Error('no connection')
  const closed = once(first, 'close')
  call.attempt.abort()
  await closed
  t.equal(call.outcome.error, undefined)
  call.attempt.abort()
  // Ended long ago: its connection is another call's now.
  const whole = await serve(t, (socket) => void socket.write(OK))
  const ended = ask(whole.origin)
  await ended.done
  const next = ask(whole.origin)
  ended.attempt.abort()
  t.match(await next.done, { status: 200, text: 'ok' })
  const running = ask(origin)
  await running.answered
  upstreams.close()
  t.match((await running.done).error, { code: 'CLOSED_EARLY' })
})

t.test('an unwanted answer is read to its end when it is short, and cut when it is not', async (t) => {
  const refuse =
    (length: number): Script =>
    (socket) =>
      void socket.write(`HTTP/1.1 500 No\r\ncontent-length: ${length}\r\n\r\n${'x'.repeat(length)}`)
  const { ask } = open(t)
  const short = await serve(t, refuse(1000))
  for (let i = 0; i < 3; i++) {
    const { answered, outcome } = ask(short.origin, {}, false)
    await answered
    t.same(outcome, { status: 500, text: '' })
  }
  t.equal(short.sockets.length, 1)
  const long = await serve(t, refuse(10_000_000))
  await ask(long.origin, {}, false).answered
  await new Promise((resolve) => long.sockets[0]?.once('close', resolve))
  t.ok((long.sockets[0]?.bytesWritten ?? 0) > 0)
})

t.test('a streamed body goes with its length, or in chunks, and never shorter than announced', async (t) => {
  const seen: string[] = []
  const { origin } = await serve(
    t,
    (socket, text) => {
      seen.push(text)
      socket.write(OK)
    },
    (text) => text.endsWith('c') || text.endsWith('0\r\n\r\n'),
  )
  const { ask } = open(t)
  const stream = () => Readable.from([Buffer.from('a'), Buffer.from('bc')], { objectMode: false })
  t.match(await ask(origin, { body: { body: stream(), length: 3 } }).done, { status: 200 })
  t.match(await ask(origin, { body: { body: stream(), length: undefined } }).done, { status: 200 })
  t.match(seen[0], /content-length: 3\r\n\r\nabc$/)
  t.match(seen[1], /transfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n$/)
  for (const length of [2, 4]) {
    const { error } = await ask(origin, { body: { body: stream(), length } }).done
    t.match(error, { code: 'BODY_MISMATCH' })
  }
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from('a')
      throw new Error('the client left')
    })(),
  )
  t.match((await ask(origin, { body: { body: broken, length: 5 } }).done).error, {
    message: 'the client left',
  })
})

t.test('a refusal that comes before the upload’s end is passed on, and the upload let go', async (t) => {
  const { origin, sockets } = await serve(
    t,
    (socket) => void socket.write('HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno'),
    (text) => text.endsWith('begin'),
  )
  const { ask } = open(t)
  const endless = new Readable({ read: () => undefined })
  endless.push('begin')
  t.match(await ask(origin, { body: { body: endless, length: 1000 } }).done, { status: 401, text: 'no' })
  t.ok(endless.destroyed)
  const [socket] = sockets
  if (socket && !socket.closed) await once(socket, 'close')
  t.pass('a connection with half a request on it is not used again')
})

t.test('a header with a line end never leaves', async (t) => {
  const { origin } = await serve(
    t,
    () => t.fail('it left'),
    () => true,
  )
  const { error } = await open(t).ask(origin, { headers: ['x-a', 'b\r\nx-injected: 1'] }).done
  t.match(error, { message: /control character/ })
})

t.test('a session of a server that could not prove its name is not resumed', async (t) => {
  const { wrongName } = await makeCertificates()
  let resumed = 0
  const server = createTlsServer({ ...wrongName, maxVersion: 'TLSv1.2' }, (socket) => {
    socket.on('error', () => undefined)
    if (socket.isSessionReused()) resumed += 1
  }).on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { ask } = open(t)
  const origin = `https://localhost:${(server.address() as AddressInfo).port}`
  for (let i = 0; i < 3; i++) {
    const { error, status } = await ask(origin).done
    t.ok(error)
    t.equal(status, undefined)
  }
  t.equal(resumed, 0)
})

t.test('what is asked for in one turn leaves together at its end', async (t) => {
  const { origin, sockets } = await serve(t, (socket) => void socket.write(OK))
  const { ask } = open(t)
  await Promise.all([ask(origin).done, ask(origin).done])
  t.equal(sockets.length, 2)
  const received: string[] = []
  for (const socket of sockets) socket.on('data', (bytes) => received.push(bytes.toString()))
  const asks = [ask(origin, { path: '/v1/kept' }), ask(origin, { path: '/v1/given-up' })]
  t.same(received, [], 'not before the turn ends')
  asks[1]?.attempt.abort()
  t.match(await asks[0]?.done, { status: 200, text: 'ok' })
  t.match(received, [/^POST \/v1\/kept /], 'and not what was given up in the same turn')
  t.equal(sockets.filter(({ destroyed }) => destroyed).length, 0, 'which cost no connection')
})

t.test('what is asked for in the turn in which all is closed fails', async (t) => {
  const { origin, sockets } = await serve(t, (socket) => void socket.write(OK))
  const { upstreams, ask } = open(t)
  const { done } = ask(origin)
  upstreams.close()
  t.match((await done).error, { code: 'CLOSED_EARLY' })
  t.equal(sockets.length, 0)
})
