import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { status } from '../support/behaviour.ts'
import { bearer, get, openStream, post, type Reply } from '../support/client.ts'
import { hang } from '../support/faults.ts'
import { audio, formBody, formType, openUpload } from '../support/form.ts'
import { mintToken, runTokenGen, startGateway } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { ask, openScene } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const UPLOAD = '/v1/audio/transcriptions'

const { provider, options } = await openScene(t)
const gateway = await startGateway(t, {
  ...options,
  env: { ...options.env, TRUSTED_PROXIES: '127.0.0.1/32', BODY_TIMEOUT_MS: '1500' },
})
const WHOLE = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n'
const isFull = ({ status: code }: Pick<Reply, 'status'>) => code === 429

t.test('of a token for two requests at once a third is 429, whichever way the others end', async (test) => {
  const token = await mintToken(test, gateway, { user: 'two', inFlight: 2 })
  const auth = bearer(token)
  const [first, second] = [controlled(), controlled()]
  provider.queue(first, second)
  const streams = await Promise.all(
    [first, second].map(async (stream) => {
      const opening = openStream(gateway, { path: CHAT, body: ask(true), headers: auth })
      await stream.write('data: {"choices":[]}\n\n')
      return opening
    }),
  )
  const refused = await post(gateway, CHAT, ask(false), auth)
  test.match(refused, { status: 429, headers: { 'retry-after': '1', 'x-should-retry': 'true' } })
  test.match(refused.json(), {
    error: { code: 'rate_limit_exceeded', message: /2 requests running at once/ },
  })
  test.equal(
    (await get(gateway, '/v1/token', auth)).status,
    200,
    'looking at the balance is no running request',
  )
  streams[0]?.abort()
  const free = () => post(gateway, CHAT, ask(false), auth)
  test.equal((await waitUntil(free, (reply) => !isFull(reply))).status, 200, 'an abort frees its place')
  await second.reset()
  await streams[1]?.rest()
  const both = controlled()
  provider.queue(both)
  const long = await waitUntil(
    () => openStream(gateway, { path: CHAT, body: ask(true), headers: auth }),
    (open) => open.status !== 429,
  ).catch(() => undefined)
  await both.end()
  await long?.rest()
  provider.queue(status(400))
  for (const body of ['{', JSON.stringify({ ...ask(false), model: 'unknown' }), JSON.stringify(ask(false))])
    test.not((await post(gateway, CHAT, body, auth)).status, 429, 'refusals free theirs')
  test.equal((await free()).status, 200)
})

t.test('of fifty requests at once exactly as many run as may, over and over', async (test) => {
  const auth = bearer(await mintToken(test, gateway, { user: 'five', inFlight: 5 }))
  for (let round = 0; round < 3; round++) {
    const from = provider.requests.length
    const held = Array.from({ length: 5 }, () => controlled())
    provider.queue(...held)
    const asked = Array.from({ length: 50 }, () =>
      openStream(gateway, { path: CHAT, body: ask(true), headers: auth }),
    )
    // The five that run answer only once all others were refused.
    const counts = { refused: 0, all: Promise.withResolvers<void>() }
    for (const opening of asked)
      void opening.then(({ status: code }) => {
        if (code === 429 && ++counts.refused === 45) counts.all.resolve()
      })
    await counts.all.promise
    await Promise.all(held.map((stream) => stream.write(WHOLE).then(() => stream.end())))
    const opened = await Promise.all(asked)
    const running = opened.filter(({ status: code }) => code === 200)
    test.equal(running.length, 5)
    await Promise.all(opened.map((open) => open.rest()))
    test.equal(provider.requests.length - from, 5)
  }
})

t.test(
  'a connection that is kept does not keep its place, nor does one that asks for an upgrade in vain',
  async (test) => {
    const auth = bearer(await mintToken(test, gateway, { user: 'keeper', inFlight: 1 }))
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    test.teardown(() => agent.destroy())
    const upgrades = [undefined, 'h2c', 'websocket', undefined]
    for (const [count, upgrade] of upgrades.entries()) {
      const body = JSON.stringify(ask(false))
      const wish = upgrade === undefined ? {} : { upgrade, connection: 'keep-alive, Upgrade' }
      const headers = { ...auth, 'content-type': 'application/json', ...wish }
      const sending = request({ port: gateway.port, method: 'POST', path: CHAT, headers, agent }).end(body)
      const [answer] = await once(sending, 'response')
      await text(answer)
      test.equal(answer.statusCode, 200)
      test.equal(sending.reusedSocket, count > 0)
    }
  },
)

t.test(
  'an upload counts while it arrives, and frees its place when it is refused or broken off',
  async (test) => {
    const auth = bearer(await mintToken(test, gateway, { user: 'sender', inFlight: 1 }))
    const body = formBody([['model', 'm'], audio()])
    const slow = openUpload(gateway, UPLOAD, { ...auth, ...formType(), 'content-length': body.length })
    await slow.write(body.subarray(0, 20))
    const probe = () => post(gateway, CHAT, ask(false), auth)
    await waitUntil(probe, isFull)
    slow.abort()
    await waitUntil(probe, (reply) => reply.status === 200)
    const tooLarge = openUpload(gateway, UPLOAD, { ...auth, ...formType(), 'content-length': 400 * 2 ** 20 })
    test.equal((await tooLarge.reply).status, 413)
    tooLarge.abort()
    await waitUntil(probe, (reply) => reply.status === 200)
    const paused = openUpload(gateway, UPLOAD, { ...auth, ...formType(), 'content-length': body.length })
    await paused.write(body.subarray(0, 20))
    test.equal((await paused.reply).status, 408)
    await waitUntil(probe, (reply) => reply.status === 200)
    const seen = provider.requests.length + 1
    provider.queue(hang())
    const left = openUpload(gateway, CHAT, { ...auth, 'content-type': 'application/json' })
    await left.write(JSON.stringify(ask(false)))
    left.end()
    await provider.waitForRequest(seen)
    test.ok(isFull(await probe()))
    left.abort()
    await waitUntil(probe, (reply) => reply.status === 200)
  },
)

t.test('a token with an address list is refused from anywhere else', async (test) => {
  const token = await mintToken(test, gateway, { user: 'office', addresses: '10.0.0.0/8,2001:db8::/32' })
  const from = (address: string) =>
    post(gateway, CHAT, ask(false), { ...bearer(token), 'x-forwarded-for': address })
  for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '2001:db8:1::5'])
    test.equal((await from(address)).status, 200, address)
  for (const address of ['11.0.0.1', '::ffff:11.0.0.1', '2001:db9::1', '127.0.0.1']) {
    const refused = await from(address)
    test.match(refused, { status: 403, headers: { 'x-should-retry': 'false' } }, address)
    test.match(refused.json().error, {
      code: 'address_not_allowed',
      type: 'permission_error',
      message: /address /,
    })
  }
  test.equal((await post(gateway, CHAT, ask(false), bearer(token))).status, 403)
})

t.test(
  'rotated secrets end when they were to, disabled tokens at once, and read like unknown ones',
  async (test) => {
    const old = await mintToken(test, gateway, { user: 'turning' })
    const list = JSON.parse((await runTokenGen(test, gateway.dbDir, ['--list', '--json'])).stdout)
    const { id } = list.find(({ user }: { user: string }) => user === 'turning')
    const run = async (...args: string[]) => (await runTokenGen(test, gateway.dbDir, args)).stdout.trim()
    const ok = async (secret: string) =>
      (await post(gateway, CHAT, ask(false), bearer(secret))).status === 200
    const second = await run('--rotate', id, '--overlap', '24h')
    test.ok((await ok(old)) && (await ok(second)), 'both are valid')
    const third = await run('--rotate', id)
    test.notOk((await ok(old)) || (await ok(second)))
    test.ok(await ok(third))
    await run('--disable', id)
    const [disabled, unknown] = [
      await post(gateway, CHAT, ask(false), bearer(third)),
      await post(gateway, CHAT, ask(false), bearer('gw-unknown')),
    ]
    test.equal(disabled.status, 401)
    test.equal(disabled.text, unknown.text)
    await run('--enable', id)
    test.ok(await ok(third))
  },
)
