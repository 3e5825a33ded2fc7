import { randomBytes, randomUUID } from 'node:crypto'
import t from 'tap'
import { chat, chatStream } from '../support/answers.ts'
import { json, status } from '../support/behaviour.ts'
import { bearer, credits, openStream, post, type Reply, sendLeaving } from '../support/client.ts'
import { hang } from '../support/faults.ts'
import { audio, type FormPart, formBody, formType, TRANSCRIPT } from '../support/form.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { readRows, waitForRow, waitUntil } from '../support/journey.ts'
import { openScene } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'
import { ERROR_EVENT, pausing, pausingJson, ROLE_EVENT } from '../support/told-failures.ts'

const CHAT = '/v1/chat/completions'
const ask = (content: string, stream = false) => ({
  model: 'm',
  max_tokens: 50,
  stream,
  messages: [{ role: 'user', content }],
})

const { provider: main, options } = await openScene(t)
const gateway = await startGateway(t, options)
const token = await mintToken(t, gateway)
const withKey = (key: string, secret = token) => ({ ...bearer(secret), 'idempotency-key': key })
const rowsOf = ({ headers }: Pick<Reply, 'headers'>) => readRows(gateway, String(headers['x-request-id']))

t.test('a plain answer is given again byte for byte, and charged once', async (test) => {
  const key = randomUUID()
  main.queue(
    json('{"id":"a", "n": 1e400,\n"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'),
  )
  const first = await post(gateway, CHAT, ask('once'), withKey(key))
  test.equal(first.status, 200)
  const before = await credits(gateway, token)
  const calls = main.requests.length
  const again = await post(gateway, CHAT, ask('once'), withKey(key))
  test.equal(again.status, 200)
  test.strictSame(again.body, first.body)
  test.equal(again.headers['idempotent-replayed'], 'true')
  test.equal(first.headers['idempotent-replayed'], undefined)
  for (const name of ['content-type', 'content-length', 'x-gateway-provider', 'x-gateway-credits-charged'])
    test.equal(again.headers[name], first.headers[name], name)
  test.not(again.headers['x-request-id'], first.headers['x-request-id'])
  test.equal(main.requests.length, calls, 'no provider was asked')
  test.same(await credits(gateway, token), before)
  test.equal(rowsOf(again).length, 0)
})

t.test('a key is free again when an answer had begun and nothing was charged', async (test) => {
  const times = { ANSWER_TIMEOUT_MS: '800', FIRST_BYTE_TIMEOUT_MS: '800', IDLE_TIMEOUT_MS: '800' }
  const env = { ...options.env, ...times, TOTAL_TIMEOUT_MS: '800' }
  const impatient = await startGateway(test, { modelsFile: options.modelsFile, env })
  const secret = await mintToken(test, impatient)
  for (const stream of [true, false]) {
    const key = randomUUID()
    main.queue(stream ? pausing([ROLE_EVENT], 500, [ERROR_EVENT]) : pausingJson('{"id":', '', 1500))
    const sent = { path: CHAT, headers: withKey(key, secret), body: ask('later', stream) }
    const failed = await openStream(impatient, sent)
    await failed.rest()
    const row = await waitForRow(impatient, String(failed.headers['x-request-id']))
    test.match(row, { charged_micros: 0, provider: '', attempts: 1 })
    main.queue(stream ? chatStream() : chat())
    const again = await openStream(impatient, sent)
    test.equal(again.status, 200, `stream: ${stream}`)
    await again.rest()
  }
})

t.test('another body, path or query under a key is 422, another token has its own', async (test) => {
  const key = randomUUID()
  await post(gateway, CHAT, ask('one'), withKey(key))
  for (const [path, body] of [
    [CHAT, ask('two')],
    ['/v1/responses', ask('one')],
    [`${CHAT}?beta=true`, ask('one')],
  ] as const) {
    const refused = await post(gateway, path, body, withKey(key))
    test.match(refused, { status: 422, headers: { 'x-should-retry': 'false' } })
    test.match(refused.json(), { error: { code: 'idempotency_mismatch', type: 'invalid_request_error' } })
  }
  const other = await mintToken(test, gateway, { user: 'other' })
  const fresh = await post(gateway, CHAT, ask('two'), withKey(key, other))
  test.match(fresh, { status: 200, headers: { 'idempotent-replayed': undefined } })
})

t.test(
  'while the first runs the same key is 409; a finished stream is 409 with its request id',
  async (test) => {
    const key = randomUUID()
    const stream = controlled()
    main.queue(stream)
    const opening = openStream(gateway, { path: CHAT, body: ask('s', true), headers: withKey(key) })
    await stream.opened
    await stream.write('data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n')
    const open = await opening
    const id = String(open.headers['x-request-id'])
    const running = await post(gateway, CHAT, ask('s', true), withKey(key))
    test.match(running, { status: 409, headers: { 'x-should-retry': 'true', 'retry-after': '1' } })
    test.match(running.json(), {
      error: { code: 'idempotency_conflict', message: new RegExp(`${id}.*still runs`) },
    })
    await stream.write('data: [DONE]\n\n')
    await stream.end()
    test.notOk((await open.rest()).cut)
    const over = await post(gateway, CHAT, ask('s', true), withKey(key))
    test.match(over, { status: 409, headers: { 'x-should-retry': 'false', 'retry-after': undefined } })
    test.match(over.json(), {
      error: { code: 'idempotency_conflict', message: new RegExp(`${id}.*charged`) },
    })
    test.equal(readRows(gateway, id).length, 1)
  },
)

t.test(
  'twenty at once with one key: one is paid, all others are refused or given its answer',
  async (test) => {
    const key = randomUUID()
    const calls = main.requests.length
    const all = await Promise.all(
      Array.from({ length: 20 }, () => post(gateway, CHAT, ask('at once'), withKey(key))),
    )
    test.equal(main.requests.length, calls + 1)
    test.equal(all.filter(({ headers }) => rowsOf({ headers }).length > 0).length, 1)
    test.ok(all.every((reply) => reply.status === 200 || reply.status === 409))
  },
)

t.test('what nobody answered frees its key', async (test) => {
  const [failed, poor, left] = [randomUUID(), randomUUID(), randomUUID()]
  main.queue(status(500))
  test.equal((await post(gateway, CHAT, ask('f'), withKey(failed))).status, 502)
  test.equal(
    (await post(gateway, CHAT, ask('another'), withKey(failed))).status,
    200,
    'even for another body',
  )
  const broke = await mintToken(test, gateway, { user: 'broke', credits: 0 })
  const refused = await post(gateway, CHAT, ask('p'), withKey(poor, broke))
  test.match(refused.json(), { error: { code: 'insufficient_quota' } })
  test.match((await post(gateway, CHAT, ask('p'), withKey(poor, broke))).json(), {
    error: { code: 'insufficient_quota' },
  })
  main.queue(hang())
  const seen = main.requests.length + 1
  const request = sendLeaving(gateway, { path: CHAT, headers: withKey(left), body: ask('l') })
  await main.waitForRequest(seen)
  request.leave()
  test.ok(await request.left)
  const freed = await waitUntil(
    () => post(gateway, CHAT, ask('l'), withKey(left)),
    (reply) => reply.status === 200,
  )
  test.equal(freed.headers['idempotent-replayed'], undefined)
})

t.test('a stream that its client left is charged, and its key stays used', async (test) => {
  const key = randomUUID()
  const stream = controlled()
  main.queue(stream)
  const opening = openStream(gateway, { path: CHAT, body: ask('gone', true), headers: withKey(key) })
  await stream.write('data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n')
  const open = await opening
  open.abort()
  const id = String(open.headers['x-request-id'])
  const row = await waitForRow(gateway, id)
  test.equal(row.status, 499)
  const over = await waitUntil(
    () => post(gateway, CHAT, ask('gone', true), withKey(key)),
    (reply) => reply.headers['x-should-retry'] === 'false',
  )
  test.match(over.json(), { error: { code: 'idempotency_conflict', message: new RegExp(id) } })
})

t.test(
  "a provider's own refusal is given again; a large answer is not, and not charged again",
  async (test) => {
    const [bad, large] = [randomUUID(), randomUUID()]
    main.queue(status(400), chat({ content: 'x'.repeat(1024 * 1024) }))
    const refused = await post(gateway, CHAT, ask('bad'), withKey(bad))
    const again = await post(gateway, CHAT, ask('bad'), withKey(bad))
    test.match(again, { status: 400, text: refused.text, headers: { 'idempotent-replayed': 'true' } })
    test.equal((await post(gateway, CHAT, ask('large'), withKey(large))).status, 200)
    test.equal((await post(gateway, CHAT, ask('large'), withKey(large))).status, 409)
  },
)

t.test('an upload under a key is charged once', async (test) => {
  const key = randomUUID()
  main.queue(json(TRANSCRIPT))
  const body = formBody([['model', 'm'], audio()])
  const headers = { ...withKey(key), ...formType() }
  const [first, again] = [
    await post(gateway, '/v1/audio/transcriptions', body, headers),
    await post(gateway, '/v1/audio/transcriptions', body, headers),
  ]
  test.equal(first.status, 200)
  test.match(again, { status: 200, text: first.text, headers: { 'idempotent-replayed': 'true' } })
})

for (const [size, bytes] of [
  ['small', 5_000],
  ['large', 3 * 1024 * 1024],
] as const)
  t.test(
    `a ${size} upload under a key is known by its content, not by its length or boundary`,
    async (test) => {
      const key = randomUUID()
      main.queue(json(TRANSCRIPT))
      const file = audio('a.mp3', randomBytes(bytes))
      const send = (parts: readonly FormPart[], boundary: string) =>
        post(gateway, '/v1/audio/transcriptions', formBody(parts, boundary), {
          ...withKey(key),
          ...formType(boundary),
        })
      const first = await send([['model', 'm'], file], 'one')
      test.equal(first.status, 200)
      const again = await send([['model', 'm'], file], 'another-boundary')
      test.match(again, { status: 200, text: first.text, headers: { 'idempotent-replayed': 'true' } })
      const other = await send([['model', 'm'], audio('a.mp3', randomBytes(bytes))], 'one')
      test.match(other.json(), { error: { code: 'idempotency_mismatch' } })
      const field = await send([['model', 'm'], ['language', 'en'], file], 'one')
      test.equal(field.status, 422)
    },
  )

t.test('a key that is none is 400', async (test) => {
  for (const key of ['', 'x'.repeat(256), 'a\tb', 'é'])
    test.match((await post(gateway, CHAT, ask('k'), withKey(key))).json(), {
      error: { code: 'invalid_request' },
    })
  test.equal((await post(gateway, CHAT, ask('k'), withKey('x'.repeat(255)))).status, 200)
})

t.test('keys survive kill -9: what was charged stays used, what was cut off is free', async (test) => {
  const key = randomUUID()
  const [plain, stream, waiting] = [`${key}-plain`, `${key}-stream`, `${key}-waiting`]
  const first = await post(gateway, CHAT, ask('kept'), withKey(plain))
  main.queue(chatStream(), hang())
  const streaming = controlled()
  main.queue(streaming)
  await post(gateway, CHAT, ask('done', true), withKey(`${key}-done`))
  const seen = main.requests.length + 1
  const lost = post(gateway, CHAT, ask('waiting'), withKey(waiting)).catch(() => 'cut')
  await main.waitForRequest(seen)
  const opening = openStream(gateway, { path: CHAT, body: ask('begun', true), headers: withKey(stream) })
  await streaming.write('data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n')
  const open = await opening
  await open[Symbol.asyncIterator]().next()
  // Its mark is written with the charges of this one.
  await post(gateway, CHAT, ask('after'), bearer(token))
  await gateway.kill9()
  test.equal(await lost, 'cut')
  const next = await startGateway(test, options)
  const again = await post(next, CHAT, ask('kept'), withKey(plain))
  test.match(again, { status: 200, text: first.text, headers: { 'idempotent-replayed': 'true' } })
  test.equal((await post(next, CHAT, ask('done', true), withKey(`${key}-done`))).status, 409)
  const begun = await post(next, CHAT, ask('begun', true), withKey(stream))
  test.match(begun, { status: 409, text: new RegExp(String(open.headers['x-request-id'])) })
  test.match(await post(next, CHAT, ask('waiting'), withKey(waiting)), {
    status: 200,
    headers: { 'idempotent-replayed': undefined },
  })
})
