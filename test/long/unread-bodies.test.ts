import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { statusOf } from '../support/hostile.ts'
import { startJourney, waitUntil } from '../support/journey.ts'

const { gateway, token } = await startJourney(t, {
  providers: ['main'],
  models: { m: { plan: [{ provider: 'main' }] } },
  env: { UNAUTHENTICATED_PER_MINUTE: '100000' },
})

/** CPU time of the gateway so far. A tick is 10 ms. */
function cpuMs(): number {
  const stat = readFileSync(`/proc/${gateway.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** A client that has sent this and waits. */
function open(t: Test, first: string) {
  const socket = connect(gateway.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const client = { socket, said: '', isClosed: false, from: performance.now(), openMs: 0 }
  socket.on('data', (bytes) => {
    client.said += bytes.toString('latin1')
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    client.isClosed = true
    client.openMs = performance.now() - client.from
  })
  socket.write(first)
  return client
}

const head = (request: string, ...lines: string[]): string =>
  [`${request} HTTP/1.1`, 'Host: a', ...lines, '', ''].join('\r\n')
const auth = `Authorization: Bearer ${token}`
const master = `Authorization: Bearer ${gateway.masterToken}`
const CHUNKED = 'Transfer-Encoding: chunked'

t.test('whoever has an answer and stops sending its body loses the connection, not at once', async (t) => {
  const heads: [string, number, number][] = [
    [head('GET /health', 'Content-Length: 9'), 200, 1],
    [head('GET /health', CHUNKED), 200, 1],
    [head('HEAD /health', 'Content-Length: 9'), 404, 1],
    [head('GET /ready', 'Content-Length: 1000000'), 200, 1],
    [head('GET /v1/models', auth, 'Content-Length: 9'), 200, 1],
    [head('GET /v1/token', auth, CHUNKED), 200, 1],
    [head('GET /metrics', master, 'Content-Length: 9'), 200, 1],
    [head('GET /v1/models', 'Content-Length: 9'), 401, 1],
    [head('POST /nothing', 'Content-Length: 9'), 404, 1],
    [head('GET /health') + head('GET /health', 'Content-Length: 9'), 200, 2],
  ]
  const clients = heads.map(([first, status, answers]) => ({
    ...{ first, status, answers },
    at: open(t, first),
  }))
  await waitUntil(
    () => clients.filter(({ at }) => !at.isClosed).map(({ first }) => first),
    (left) => left.length === 0,
  )
  for (const { first, status, answers, at } of clients) {
    if (!first.startsWith('HEAD')) t.equal(statusOf(at.said), status, first)
    t.equal(at.said.split('HTTP/1.1 ').length - 1, answers, first)
    t.ok(at.openMs > 2_000 && at.openMs < 12_000, `${first}: ${Math.round(at.openMs)} ms`)
  }
})

t.test('a body that comes in whole after its answer leaves the connection as it was', async (t) => {
  const bodies: [string, string][] = [
    ['Content-Length: 5', 'later'],
    [CHUNKED, '5\r\nlater\r\n0\r\n\r\n'],
  ]
  const ask = async ([framing, body]: [string, string]) => {
    const client = open(t, head('GET /health', framing))
    const answers = () => client.said.split('{"status":"ok"}').length - 1
    await waitUntil(answers, (count) => count === 1)
    client.socket.write(body + head('GET /health'))
    await waitUntil(answers, (count) => count === 2)
    // Longer than anybody is heard out.
    await sleep(4_000)
    t.notOk(client.isClosed, framing)
    client.socket.write(head('GET /health'))
    await waitUntil(answers, (count) => count === 3)
  }
  await Promise.all(bodies.map(ask))
})

t.test('a body of endless crumbs behind an answer ends with its connection, and soon', async (t) => {
  const crumbs = '1\r\n \r\n'.repeat(5_000)
  for (const first of [head('GET /health', CHUNKED), head('GET /v1/models', auth, CHUNKED)]) {
    const client = open(t, first)
    await waitUntil(
      () => client.said,
      (said) => said.includes('\r\n\r\n'),
    )
    const from = cpuMs()
    const pump = () => {
      while (!client.isClosed && client.socket.write(crumbs));
    }
    client.socket.on('drain', pump)
    pump()
    await waitUntil(
      () => client.isClosed,
      (isClosed) => isClosed,
    )
    t.ok(cpuMs() - from < 500, `${first}: ${cpuMs() - from} ms of the gateway`)
    t.ok(client.openMs < 12_000, `${first}: ${Math.round(client.openMs)} ms`)
  }
})
