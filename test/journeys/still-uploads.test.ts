import t, { type Test } from 'tap'
import type { Behaviour } from '../support/behaviour.ts'
import { openBody } from '../support/body-client.ts'
import { BOUNDARY, formBody, listening } from '../support/form.ts'
import { statusOf } from '../support/hostile.ts'
import { startJourney, waitUntil } from '../support/journey.ts'

const MIB = 1024 * 1024
const FORM = '/v1/audio/transcriptions'
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`
const NEXT = 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'

const { gateway, providers, token } = await startJourney(t, {
  providers: ['main'],
  models: { m: { plan: [{ provider: 'main' }], price: { perSecond: 1 } } },
  env: { BODY_TIMEOUT_MS: '1500' },
  token: { credits: 100_000_000 },
})
const { main } = providers
const body = formBody([
  ['model', 'm'],
  ['file', 'a.mp3', Buffer.alloc(5 * MIB, 'x')],
])
/** As soon as the head is there. */
const refusal: Behaviour = { early: true, act: ({ res }) => void res.writeHead(400).end('{"error":{}}') }

/** An upload whose first part is sent. */
async function begin(t: Test, path: string, isChunked: boolean, bytes = body.subarray(0, 2 * MIB)) {
  const length = isChunked ? undefined : body.length
  const client = openBody(t, { port: gateway.port, token, path, length, type: TYPE })
  if (isChunked) client.socket.write(`${bytes.length.toString(16)}\r\n`)
  client.socket.write(bytes)
  if (isChunked) client.socket.write('\r\n')
  return client
}

for (const path of [FORM])
  for (const isChunked of [false, true]) {
    const name = `${path}, ${isChunked ? 'in chunks' : 'announced'}`
    t.test(`a refused upload that stands still loses its connection: ${name}`, async (t) => {
      main.queue(refusal)
      const client = await begin(t, path, isChunked)
      t.equal(statusOf(await client.answer()), 400)
      await client.closed()
    })

    t.test(`an upload that stands still is 408, and loses its connections: ${name}`, async (t) => {
      const aborted = main.requests.filter((request) => request.aborted).length
      main.queue(listening().behaviour)
      const client = await begin(t, path, isChunked)
      const answer = await client.answer()
      t.equal(statusOf(answer), 408, answer)
      t.match(answer, /"code":"request_timeout"/)
      await client.closed()
      await main.waitForAbort(aborted + 1)
    })
  }

t.test('an upload that goes on after its refusal leaves the connection as it was', async (t) => {
  main.queue(refusal)
  const client = await begin(t, FORM, false)
  t.equal(statusOf(await client.answer()), 400)
  client.socket.write(body.subarray(2 * MIB))
  client.socket.write(NEXT)
  await waitUntil(client.said, (said) => said.includes('{"status":"ok"}'))
})
