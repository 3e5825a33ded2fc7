import type { ServerResponse } from 'node:http'
import t from 'tap'
import { type BodyClient, openBody, sendInChunks } from '../support/body-client.ts'
import { bearer, post } from '../support/client.ts'
import { formBody, formType } from '../support/form.ts'
import { mintToken } from '../support/gateway.ts'
import { codeOf, statusOf } from '../support/hostile.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { gaugeOf, residentMib } from '../support/memory.ts'

t.setTimeout(180_000)
const MIB = 1024 * 1024
const CHAT = '/v1/chat/completions'
const BUDGET_MIB = 64

const { gateway, providers, token } = await startJourney(t, {
  providers: ['main'],
  models: { m: { plan: [{ provider: 'main' }] } },
  servers: { main: { keepBodies: false } },
  env: { BODY_MEMORY_BYTES: String(BUDGET_MIB * MIB), UNAUTHENTICATED_PER_MINUTE: '100000' },
  token: { credits: 1_000_000_000 },
})
const admin = await mintToken(t, gateway, { type: 'admin', user: 'metrics' })
const victim = await mintToken(t, gateway, { user: 'victim', credits: 1_000_000 })
providers.main.answer({
  act: ({ res }) =>
    void res
      .writeHead(200, { 'content-type': 'application/json' })
      .end('{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'),
})
const small = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
const bodyBytes = () => gaugeOf(gateway, admin, 'gateway_body_bytes')
const nothingLeft = () => waitUntil(bodyBytes, (bytes) => bytes === 0)
const jsonOf = (answer: string): string =>
  /\{.*\}/s.exec(answer.slice(answer.indexOf('\r\n\r\n')))?.[0] ?? '{}'
const large = (mib: number) => Buffer.from(`{"model":"m","messages":[],"a":"${'x'.repeat(mib * MIB)}"}`)
const open = (length: number | undefined, secret: string | undefined = token): BodyClient =>
  openBody(t, { port: gateway.port, ...(secret === undefined ? {} : { token: secret }), length })
await post(gateway, CHAT, small, bearer(token))

t.test('9 MiB in chunks of one byte are refused after the first ones, whoever reads them', async (t) => {
  const before = residentMib(gateway)
  const body = large(9)
  const form = formBody([
    ['model', 'm'],
    ['file', 'a.mp3', body],
  ])
  const type = String(formType()['content-type'])
  const { port } = gateway
  const cases: [string, BodyClient, Buffer, number, string][] = [
    ['JSON', openBody(t, { port, token }), body, 400, 'invalid_request'],
    [
      'a form',
      openBody(t, { port, token, type, path: '/v1/audio/transcriptions' }),
      form,
      400,
      'invalid_request',
    ],
    ['a path that is not there', openBody(t, { port, token, path: '/v1/nothing' }), body, 404, 'not_found'],
    ['nobody’s', openBody(t, { port }), body, 401, 'invalid_api_key'],
  ]
  const refused = cases.map(async ([name, client, bytes, status, code]) => {
    await sendInChunks(client, bytes, 1)
    const answer = await client.answer()
    t.equal(statusOf(answer), status, `${name}: ${answer}`)
    t.equal(codeOf(jsonOf(answer)), code, name)
    await client.closed()
  })
  await Promise.all(refused)
  const grown = residentMib(gateway, 'VmHWM') - before
  t.ok(grown < 80, `${Math.round(grown)} MiB more at the peak`)
  await nothingLeft()
})

t.test('chunks of a word each are a body like any other, and cost its bytes', async (t) => {
  const before = residentMib(gateway)
  const client = open(undefined)
  await sendInChunks(client, large(9), 40)
  t.equal(statusOf(await client.answer()), 200, client.said())
  client.socket.destroy()
  const tiny = open(undefined)
  await sendInChunks(tiny, Buffer.from(JSON.stringify(small)), 1)
  t.equal(statusOf(await tiny.answer()), 200, 'a small body may be as crumbled as it likes')
  tiny.socket.destroy()
  const grown = residentMib(gateway) - before
  t.ok(grown < 60, `${Math.round(grown)} MiB more`)
  await nothingLeft()
})

t.test(
  'unfinished bodies of one token wait or are sent away, the others are served, memory comes back',
  async (t) => {
    const before = residentMib(gateway)
    const clients = Array.from({ length: 119 }, () => open(10 * MIB))
    const part = Buffer.alloc(9 * MIB, 'x')
    const sending = Promise.all(clients.map((client) => client.write(part)))
    await waitUntil(bodyBytes, (bytes) => bytes > 20 * MIB)
    let slowestMs = 0
    for (let i = 0; i < 20; i++) {
      const from = performance.now()
      t.equal((await post(gateway, CHAT, small, bearer(victim))).status, 200)
      slowestMs = Math.max(slowestMs, performance.now() - from)
    }
    t.ok(slowestMs < 2_000, `the slowest took ${Math.round(slowestMs)} ms`)
    const seen = await bodyBytes()
    t.ok(seen <= (BUDGET_MIB / 2 + 4) * MIB, `${seen / MIB} MiB are the greedy one's`)
    const grown = residentMib(gateway, 'VmHWM') - before
    t.ok(grown < 300, `${Math.round(grown)} MiB more at the peak`)
    await sending
    const answers = await Promise.all(clients.map((client) => client.answer()))
    const busy = answers.filter((answer) => statusOf(answer) === 503)
    t.ok(busy.length > 100, `${busy.length} were told to come again`)
    for (const answer of busy) {
      t.equal(codeOf(jsonOf(answer)), 'gateway_busy')
      t.match(answer, /x-should-retry: true/i)
      t.match(answer, /retry-after-ms: \d+/i)
    }
    t.ok(
      answers.every((answer) => [503, 408].includes(statusOf(answer))),
      'and those that stood still were ended',
    )
    for (const { socket } of clients) socket.destroy()
    await nothingLeft()
    const left = residentMib(gateway) - before
    t.ok(left < 150, `${Math.round(left)} MiB more than before`)
    t.equal((await post(gateway, CHAT, large(9), bearer(token))).status, 200)
  },
)

t.test('a body that trickles is ended in seconds, however long one may take', async (t) => {
  const from = performance.now()
  const type = String(formType()['content-type'])
  const form = openBody(t, {
    port: gateway.port,
    token,
    length: 10 * MIB,
    type,
    path: '/v1/audio/transcriptions',
  })
  const boundary = /boundary=(.+)$/.exec(type)?.[1]
  form.socket.write(`--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n`)
  const clients = [open(10 * MIB), form]
  const trickle = setInterval(() => {
    for (const { socket } of clients) if (socket.writable) socket.write('\r')
  }, 300)
  t.teardown(() => clearInterval(trickle))
  for (const client of clients) {
    const answer = await client.answer()
    t.equal(statusOf(answer), 408, answer)
    t.equal(codeOf(jsonOf(answer)), 'request_timeout')
  }
  const ms = performance.now() - from
  t.ok(ms > 5_000 && ms < 25_000, `after ${Math.round(ms)} ms`)
  clearInterval(trickle)
  await nothingLeft()
})

t.test('what cannot be paid by its length alone is refused before it is read', async (t) => {
  const poor = await mintToken(t, gateway, { user: 'poor', credits: 1 })
  const seen = providers.main.requests.length
  const client = open(10 * MIB, poor)
  const answer = await client.answer()
  t.equal(statusOf(answer), 429, 'with nothing of its body sent')
  t.equal(codeOf(jsonOf(answer)), 'insufficient_quota')
  t.match(answer, /x-should-retry: false/i)
  client.socket.destroy()
  // As much text as its credits pay is taken for what it may be: a picture, which costs an eighth.
  const picture = Buffer.alloc(MIB, 'A').toString()
  const content = [{ type: 'image_url', image_url: { url: `data:image/png;base64,${picture}` } }]
  const shown = { model: 'm', messages: [{ role: 'user', content }] }
  const enough = await mintToken(t, gateway, { user: 'enough', credits: 60_000 })
  const served = await post(gateway, CHAT, shown, bearer(enough))
  t.equal(served.status, 200, served.text)
  t.equal(providers.main.requests.length, seen + 1)
  await nothingLeft()
})

t.test('whatever a request ends with, nothing of its body is kept', async (t) => {
  const stream = (status: number) => ({
    act: ({ res }: { res: ServerResponse }) => void res.writeHead(status).end('{}'),
  })
  const ends: [string, () => Promise<unknown>][] = [
    ['an answer', () => post(gateway, CHAT, large(1), bearer(token))],
    ['no JSON', () => post(gateway, CHAT, Buffer.alloc(MIB, 'x'), bearer(token))],
    ['no model', () => post(gateway, CHAT, { a: 'x'.repeat(MIB) }, bearer(token))],
    ['an unknown model', () => post(gateway, CHAT, { model: 'other', a: 'x'.repeat(MIB) }, bearer(token))],
    [
      'the wrong type',
      () => post(gateway, CHAT, formBody([['model', 'm']]), { ...bearer(token), ...formType() }),
    ],
    ['JSON for a form', () => post(gateway, '/v1/audio/transcriptions', large(1), bearer(token))],
    ['too much', () => post(gateway, CHAT, large(10), bearer(token))],
    ['an empty body', () => post(gateway, CHAT, '', bearer(token))],
    [
      'an empty purse',
      () => post(gateway, CHAT, { ...small, max_tokens: 9_000_000, n: 128 }, bearer(victim)),
    ],
    [
      'a broken form',
      () => post(gateway, '/v1/audio/transcriptions', large(2), { ...bearer(token), ...formType() }),
    ],
    [
      'a key used twice',
      async () => {
        const headers = { ...bearer(token), 'idempotency-key': 'twice' }
        await post(gateway, CHAT, large(1), headers)
        const again = await post(gateway, CHAT, large(1), headers)
        t.equal(again.headers['idempotent-replayed'], 'true')
        t.equal((await post(gateway, CHAT, large(2), headers)).status, 422)
      },
    ],
    [
      'a provider’s refusal',
      () => {
        providers.main.queue(stream(500))
        return post(gateway, CHAT, large(1), bearer(token))
      },
    ],
    [
      'a client that leaves while it sends',
      async () => {
        const client = open(5 * MIB)
        await client.write(Buffer.alloc(2 * MIB, 'x'))
        await waitUntil(bodyBytes, (bytes) => bytes > MIB)
        client.socket.destroy()
      },
    ],
    [
      'a client that leaves while it waits',
      async () => {
        providers.main.queue({ act: () => undefined })
        const { length } = providers.main.requests
        const client = open(large(1).length)
        await client.write(large(1))
        await providers.main.waitForRequest(length + 1)
        t.ok((await bodyBytes()) >= MIB, 'it may have to be sent to the next provider')
        client.socket.destroy()
      },
    ],
  ]
  for (const [name, end] of ends) {
    await end()
    t.equal(await nothingLeft(), 0, name)
  }
  const complaints = gateway.lines().filter(({ level }) => level === 'error' || level === 'fatal')
  t.strictSame(complaints, [])
})
