import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Behaviour } from '../support/behaviour.ts'
import { openBody } from '../support/body-client.ts'
import { get } from '../support/client.ts'
import { BOUNDARY, formBody, listening } from '../support/form.ts'
import { statusOf } from '../support/hostile.ts'
import { startJourney, waitUntil } from '../support/journey.ts'

const MIB = 1024 * 1024
const FORM = '/v1/audio/transcriptions'
const HANDED_ON = '/v1/files'
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`
const NEXT = 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'

const { gateway, providers, token } = await startJourney(t, {
  providers: ['main'],
  models: { m: { plan: [{ provider: 'main' }], price: { perSecond: 1 } } },
  env: { BODY_TIMEOUT_MS: '1500', PASSTHROUGH_PATHS: HANDED_ON },
  token: { credits: 100_000_000 },
})
const { main } = providers
const body = formBody([
  ['model', 'm'],
  ['file', 'a.mp3', Buffer.alloc(5 * MIB, 'x')],
])
/** As soon as the head is there. */
const refusal: Behaviour = { early: true, act: ({ res }) => void res.writeHead(400).end('{"error":{}}') }

/** Of refused clients that neither send nor leave. */
const ends: Promise<void>[] = []

/** An upload whose first part is sent. */
async function begin(path: string, isChunked: boolean, bytes = body.subarray(0, 2 * MIB)) {
  const length = isChunked ? undefined : body.length
  const client = openBody(t, { port: gateway.port, token, path, length, type: TYPE })
  if (isChunked) client.socket.write(`${bytes.length.toString(16)}\r\n`)
  client.socket.write(bytes)
  if (isChunked) client.socket.write('\r\n')
  return client
}

for (const path of [FORM, HANDED_ON])
  for (const isChunked of [false, true]) {
    const name = `${path}, ${isChunked ? 'in chunks' : 'announced'}`
    t.test(`an upload that stands still learns of its refusal: ${name}`, async (t) => {
      main.queue(refusal)
      const client = await begin(path, isChunked)
      t.equal(statusOf(await client.answer()), 400)
      ends.push(client.closed())
    })

    t.test(`an upload that stands still is 408, and its provider is let go: ${name}`, async (t) => {
      const aborted = main.requests.filter((request) => request.aborted).length
      main.queue(listening().behaviour)
      const client = await begin(path, isChunked)
      const answer = await client.answer()
      t.equal(statusOf(answer), 408, answer)
      t.match(answer, /"code":"request_timeout"/)
      ends.push(client.closed())
      await main.waitForAbort(aborted + 1)
    })
  }

t.test('an upload that goes on after its refusal leaves the connection as it was', async (t) => {
  main.queue(refusal)
  const client = await begin(FORM, false)
  t.equal(statusOf(await client.answer()), 400)
  client.socket.write(body.subarray(2 * MIB))
  client.socket.write(NEXT)
  await waitUntil(client.said, (said) => said.includes('{"status":"ok"}'))
})

t.test('every upload that stood still has lost its connection', async (t) => {
  t.equal(ends.length, 8)
  await Promise.all(ends)
})

t.test('a slow upload, and one that waits for its provider, are handed on whole', async (t) => {
  const waiting = openBody(t, { port: gateway.port, token, path: HANDED_ON, length: 30 * MIB })
  main.queue({
    early: true,
    async act({ req, res }) {
      req.pause()
      await sleep(4_000)
      req.resume().on('end', () => res.end('{}'))
    },
  })
  const asked = main.requests.length
  waiting.socket.write(Buffer.alloc(30 * MIB))
  await waitUntil(
    () => main.requests.length,
    (count) => count > asked,
  )
  const slow = openBody(t, { port: gateway.port, token, path: HANDED_ON, length: 6_000 })
  for (let sent = 0; sent < 6_000; sent += 1_000) {
    slow.socket.write(Buffer.alloc(1_000))
    await sleep(700)
  }
  for (const client of [slow, waiting]) t.equal(statusOf(await client.answer()), 200, client.said())
})

t.test('a body of crumbs that is handed on is refused, and the same process serves on', async (t) => {
  const client = openBody(t, { port: gateway.port, token, path: HANDED_ON })
  for (let sent = 0; sent < 12_000; sent += 1_000) await client.write('1\r\n \r\n'.repeat(1_000))
  t.equal(statusOf(await client.answer()), 400, client.said())
  await client.closed()
  t.equal((await get(gateway, '/health')).status, 200)
  t.notOk(gateway.lines().some(({ level }) => level === 'fatal'))
})
