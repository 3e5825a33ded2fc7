import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { json, status } from '../support/behaviour.ts'
import { bearer, credits, post, send } from '../support/client.ts'
import {
  audio,
  BOUNDARY,
  type FormPart,
  formBody,
  formType,
  hashOf,
  listening,
  openUpload,
  TRANSCRIPT,
} from '../support/form.ts'
import { startJourney, waitForRow, waitUntil } from '../support/journey.ts'

const MIB = 1024 * 1024
const PATH = '/v1/audio/transcriptions'

const { gateway, providers, token } = await startJourney(t, {
  providers: ['main', 'backup'],
  models: {
    speech: { plan: [{ provider: 'main', model: 'their-own-name' }], price: { perSecond: 1 } },
    pair: { plan: [{ provider: 'main' }, { provider: 'backup' }] },
    plain: { plan: [{ provider: 'main' }] },
  },
  servers: { main: { keepBodies: false }, backup: {} },
  env: { BODY_TIMEOUT_MS: '1500' },
  token: { credits: 100_000_000 },
})
const { main, backup } = providers
backup.answer(json(TRANSCRIPT))

const auth = { ...bearer(token), ...formType() }

t.test('a recording reaches the provider while it is still being sent', async (test) => {
  const seen = listening(4 * MIB)
  main.queue(seen.behaviour)
  const file = randomBytes(8 * MIB)
  const body = formBody([['model', 'speech'], audio('long.mp3', file)])
  const upload = openUpload(gateway, PATH, { ...auth, 'content-length': body.length })
  await upload.write(body.subarray(0, 6 * MIB))
  const request = await seen.reached
  test.notOk(request.complete, 'the client has not sent the rest')
  await upload.write(body.subarray(6 * MIB))
  upload.end()
  test.match(await upload.reply, { status: 200, text: /hello/ })
  test.equal(await seen.hash, hashOf([['model', 'their-own-name'], audio('long.mp3', file)]))
  test.equal(
    request.headers['content-length'],
    String(body.length + 'their-own-name'.length - 'speech'.length),
  )
  test.equal(request.headers['content-type'], auth['content-type'])
  test.equal(request.headers.authorization, 'Bearer key-of-main')
})

const residentKb = (field: string): number =>
  Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${gateway.pid}/status`, 'utf8'))?.[1])

t.test('a file in front of its model passes whole, and memory does not grow by it', async (test) => {
  const seen = listening()
  main.queue(seen.behaviour)
  const file = audio('first.wav', randomBytes(120 * MIB))
  const before = residentKb('VmRSS')
  const answer = await send(gateway, {
    method: 'POST',
    path: PATH,
    body: formBody([file, ['model', 'speech'], ['language', 'de']]),
    headers: auth,
  })
  test.match(answer, { status: 200, text: /hello/ })
  test.equal(await seen.hash, hashOf([file, ['model', 'their-own-name'], ['language', 'de']]))
  test.ok(residentKb('VmHWM') - before < 80 * 1024, `${residentKb('VmHWM') - before} kB more at the peak`)
})

t.test('an upload over 300 MiB is refused, announced or not', async (test) => {
  const calls = main.requests.length
  const announced = openUpload(gateway, PATH, { ...auth, 'content-length': 300 * MIB + 1 })
  const refused = await announced.reply
  announced.abort()
  test.match(refused, {
    status: 413,
    headers: { 'x-should-retry': 'false' },
    text: /"code":"request_too_large"/,
  })
  test.equal(main.requests.length, calls, 'no provider was asked')
  const before = await credits(gateway, token)
  main.queue(listening().behaviour)
  const chunked = openUpload(gateway, PATH, auth)
  await chunked.write(formBody([['model', 'speech'], audio()]).subarray(0, 400))
  const piece = Buffer.alloc(4 * MIB, 'x')
  let answered = false
  const reply = chunked.reply.finally(() => {
    answered = true
  })
  for (let sent = 0; sent < 304 && !answered; sent += 4) await chunked.write(piece)
  test.match(await reply, { status: 413, text: /"code":"request_too_large"/ })
  chunked.abort()
  test.ok((await main.waitForAbort()).bodyBytes <= 300 * MIB)
  const after = await waitUntil(
    () => credits(gateway, token),
    ({ held }) => held === 0,
  )
  test.same(after, before, 'it costs nothing')
})

t.test('a small upload goes to the next provider, a large one that has begun does not', async (test) => {
  const parts: FormPart[] = [['model', 'pair'], audio()]
  for (const form of [parts, parts.toReversed()]) {
    main.queue(status(500))
    const { length } = backup.requests
    const small = await post(gateway, PATH, formBody(form), auth)
    test.match(small, { status: 200, headers: { 'x-gateway-provider': 'backup', 'x-gateway-attempts': '2' } })
    test.ok(backup.requests[length]?.body.equals(formBody(form)))
  }
  const { length } = backup.requests
  main.queue(status(500))
  const large = await post(
    gateway,
    PATH,
    formBody([['model', 'pair'], audio('l.mp3', randomBytes(3 * MIB))]),
    auth,
  )
  test.match(large, { status: 502, headers: { 'x-gateway-attempts': '1' } })
  main.queue(status(500))
  const onDisk: FormPart[] = [audio('l.mp3', randomBytes(3 * MIB)), ['model', 'pair']]
  const spooled = await post(gateway, PATH, formBody(onDisk), auth)
  test.match(spooled, { status: 200, headers: { 'x-gateway-attempts': '2' } })
  test.equal(backup.requests.length, length + 1)
  test.ok(backup.requests[length]?.body.equals(formBody(onDisk)))
})

t.test('a client that leaves in the middle ends the call and is not charged', async (test) => {
  const before = await credits(gateway, token)
  const seen = listening(MIB)
  main.queue(seen.behaviour)
  const aborted = main.requests.filter((request) => request.aborted).length
  const body = formBody([['model', 'plain'], audio('a.mp3', randomBytes(5 * MIB))])
  const headers = { ...auth, 'x-request-id': 'upload-that-was-left', 'content-length': body.length }
  const upload = openUpload(gateway, PATH, headers)
  await upload.write(body.subarray(0, 3 * MIB))
  await seen.reached
  upload.abort()
  test.notOk((await main.waitForAbort(aborted + 1)).complete)
  test.match(await waitForRow(gateway, 'upload-that-was-left'), { status: 499, cost_micros: 0 })
  test.same(await credits(gateway, token), before)
  const early = openUpload(gateway, PATH, auth)
  await early.write(`--${BOUNDARY}\r\n`)
  early.abort()
  test.match(await post(gateway, PATH, formBody([['model', 'speech']]), auth), { status: 200 })
})

t.test('an upload that pauses is the client’s failure, not the provider’s', async (test) => {
  const seen = listening(MIB)
  main.queue(seen.behaviour)
  const body = formBody([['model', 'plain'], audio('a.mp3', randomBytes(5 * MIB))])
  const upload = openUpload(gateway, PATH, { ...auth, 'content-length': body.length })
  await upload.write(body.subarray(0, 3 * MIB))
  const waiting = openUpload(gateway, PATH, auth)
  const replies = await Promise.all([upload.reply, waiting.reply])
  for (const reply of replies)
    test.match(reply, {
      status: 408,
      headers: { 'x-should-retry': 'true' },
      text: /"code":"request_timeout"/,
    })
  test.notOk(
    gateway.lines().some((line) => line.msg === 'provider failed' && line.reason === 'request_timeout'),
  )
})

t.test('an answer before the end of an upload does not keep its sender waiting', async (test) => {
  const sendWhole = async (parts: readonly FormPart[]) => {
    const body = formBody(parts)
    // As a pooled client: the gateway may not end the wait by closing the connection.
    const framing = { connection: 'keep-alive', 'content-length': body.length }
    const upload = openUpload(gateway, PATH, { ...auth, ...framing })
    await upload.write(body)
    upload.end()
    return upload.reply
  }
  const [small, large] = [audio('a.mp3', randomBytes(2 * MIB)), audio('a.mp3', randomBytes(30 * MIB))]
  main.queue({ early: true, act: ({ res }) => void res.writeHead(415).end('{"error":{}}') })
  test.match(await sendWhole([['model', 'speech'], large]), { status: 415 })
  const models: FormPart[] = [
    ['model', 'speech'],
    ['model', 'pair'],
  ]
  test.match(await sendWhole([...models, large]), { status: 400 })
  main.queue(listening().behaviour)
  test.match(await sendWhole([['model', 'speech'], small, ['model', 'pair'], large]), { status: 400 })
})
