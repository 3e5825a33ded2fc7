import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { writeClose, writeFrame } from '../../src/websocket/frames.ts'
import { chat } from '../support/answers.ts'
import { json, raw } from '../support/behaviour.ts'
import { bearer, get, openStream, post } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { keyVariable } from '../support/models.ts'
import { open as connect, refused } from '../support/realtime.ts'
import { realtimeScene } from '../support/realtime-scene.ts'
import { openScene } from '../support/scene.ts'
import { controlled, sse } from '../support/stream-behaviours.ts'

const KEY = 'sk-proj-aXbY0123456789ZzsK/sk-proj+end'
const STARS = '*'.repeat(KEY.length)
const CHAT = '/v1/chat/completions'
const ask = (stream = false) => ({
  model: 'm',
  max_tokens: 50,
  stream,
  messages: [{ role: 'user', content: 'hi' }],
})

const { provider, options } = await openScene(t)
const env = { ...options.env, [keyVariable('main')]: KEY, PASSTHROUGH_PATHS: '/v1/files=main' }
const gateway = await startGateway(t, { ...options, env })
const headers = bearer(await mintToken(t, gateway))
const errorOf = (text: string) => ({
  error: { message: text, type: 'invalid_request_error', param: null, code: 'x' },
})

t.test('a refusal that names the key of the provider reaches the client without it', async (test) => {
  const body = JSON.stringify(errorOf(`Your key ${KEY} is odd (again: ${KEY})`))
  const expected = body.replaceAll(KEY, STARS)
  const type = { 'content-type': 'application/json' }
  for (const status of [400, 409, 422]) {
    provider.queue(raw(status, type, body), raw(status, { ...type, 'content-length': body.length }, body))
    for (let index = 0; index < 2; index++)
      test.match(await post(gateway, CHAT, ask(), headers), { status, text: expected })
  }
  provider.queue(raw(400, type, body.replaceAll('/', '\\/')))
  test.notMatch((await post(gateway, CHAT, ask(), headers)).text, 'ZzsK')
  provider.queue(raw(400, { 'content-type': 'text/plain' }, `cut: ${KEY.slice(0, 30)}...`))
  test.equal((await post(gateway, CHAT, ask(), headers)).text, `cut: ${'*'.repeat(30)}...`)
  const gzip = { ...type, 'content-encoding': 'gzip' }
  provider.queue(raw(400, gzip, gzipSync(body)))
  const unzipped = await post(gateway, CHAT, ask(), headers)
  test.match(unzipped, { status: 400, text: expected, headers: { 'content-encoding': undefined } })
  provider.queue(json({}, { status: 400, headers: { 'openai-model': KEY } }))
  test.equal((await post(gateway, CHAT, ask(), headers)).headers['openai-model'], STARS)
})

t.test('nothing passes of a failure that is told inside a 200', async (test) => {
  const body = JSON.stringify({
    ...errorOf(KEY),
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  })
  const keyed = { ...headers, 'idempotency-key': randomUUID() }
  provider.queue(json(body), chat())
  const failed = await post(gateway, CHAT, ask(), keyed)
  test.match(failed, { status: 400, headers: { 'x-gateway-credits-charged': '0' } })
  test.notMatch(failed.text, /sk-proj|\*\*/)
  test.equal((await post(gateway, CHAT, ask(), keyed)).status, 200, 'its key is free again')
})

t.test('an error event of a stream is without it, wherever it is cut', async (test) => {
  const event = `data: ${JSON.stringify(errorOf(`bad ${KEY} bad`))}\n\n`
  const first = 'data: {"choices":[{"index":0,"delta":{"content":"Hi sk-proj"}}]}\n\n'
  for (const chunking of ['event', 'bytes', 7, 64] as const) {
    provider.queue(sse([first, event, 'data: [DONE]\n\n'], { chunking }))
    const open = await openStream(gateway, { method: 'POST', path: CHAT, body: ask(true), headers })
    const { text, cut } = await open.rest()
    test.equal(text, `${first}${event.replace(KEY, STARS)}data: [DONE]\n\n`, `cut by ${chunking}`)
    test.notOk(cut)
  }
})

t.test('an event that ends as a key begins leaves at once', async (test) => {
  const stream = controlled()
  provider.queue(stream)
  const opening = openStream(gateway, { method: 'POST', path: CHAT, body: ask(true), headers })
  await stream.opened
  await stream.write('data: {"choices":[{"delta":{"content":"sk-proj-aXb"}}]}\n\n')
  const open = await opening
  const piece = await open[Symbol.asyncIterator]().next()
  test.match(piece.value?.bytes.toString(), /aXb"\}\}\]\}\n\n$/)
  open.abort()
})

t.test('a passthrough answer is without it, and every other byte as it came', async (test) => {
  const body = JSON.stringify({ file: 'a', owner: KEY, ends: 'sk-proj' })
  provider.queue(json(body), json(`{"message":"${KEY}"}`, { status: 400 }))
  const answer = await get(gateway, '/v1/files/a', headers)
  test.match(answer, { status: 200, text: body.replace(KEY, STARS) })
  test.equal(answer.headers['content-length'], String(body.length))
  test.equal((await get(gateway, '/v1/files/a', headers)).text, `{"message":"${STARS}"}`)
})

t.test('realtime events, close reasons and refusals are without it', async (test) => {
  const behaviour: Parameters<typeof realtimeScene>[1] = {}
  const scene = await realtimeScene(test, behaviour, { env: { [keyVariable('main')]: KEY } })
  const token = await mintToken(test, scene.gateway)
  const client = await connect(test, { url: scene.url, token })
  const upstream = await scene.provider.until('a socket', () => scene.provider.sockets[0])
  const socket: Socket = Reflect.get(upstream, '_socket')
  const text = JSON.stringify({ type: 'error', error: { message: `wrong: ${KEY}` }, ends: 's' })
  const frame = writeFrame(1, Buffer.from(text), false)
  for (const at of [frame.length, 30, frame.indexOf(KEY) + 3, frame.indexOf(KEY) + KEY.length - 1]) {
    const before = client.events.length
    socket.write(Buffer.from(frame.subarray(0, at)))
    await wait(20)
    socket.write(Buffer.from(frame.subarray(at)))
    const event = await client.until('the event', () => client.events[before])
    test.same(event, JSON.parse(text.replace(KEY, STARS)), `cut at ${at}`)
  }
  socket.write(writeFrame(1, Buffer.from('{"type":"x"} s'.slice(0, 12)), false))
  await client.until('another event', () => client.events.find(({ type }) => type === 'x'))
  socket.write(writeClose(4001, `key ${KEY} s`, false))
  test.same(await client.closed, { code: 4001, reason: `key ${STARS} s` })
  behaviour.refuse = { status: 400, body: `{"error":{"message":"no: ${KEY}"}}` }
  const { status, body } = await refused(test, { url: scene.url, token })
  test.same({ status, body }, { status: 400, body: `{"error":{"message":"no: ${STARS}"}}` })
})
