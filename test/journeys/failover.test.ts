import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { chat, chatStream } from '../support/answers.ts'
import { type Behaviour, json, status } from '../support/behaviour.ts'
import { bearer, credits, openStream, post, sendLeaving } from '../support/client.ts'
import * as faults from '../support/faults.ts'
import { mintToken } from '../support/gateway.ts'
import { readRows, startJourney, waitForRow, waitUntil } from '../support/journey.ts'
import { chatBody, SOME_COUNTS } from '../support/openai-wire.ts'
import { unusedPort } from '../support/ports.ts'
import { startProvider } from '../support/provider.ts'

const CHAT = '/v1/chat/completions'
const price = { input: 1, output: 2 }
const plan = (...names: string[]) => names.map((provider) => ({ provider }))
const nobody = `http://127.0.0.1:${await unusedPort()}/v1`
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two', 'gone'],
  entries: { gone: { baseUrl: nobody } },
  models: {
    refused: { plan: plan('gone', 'two'), price },
    first: { plan: plan('one'), price, fallbacks: ['second'] },
    second: { plan: [{ provider: 'two', model: 'second-at-two' }], price: { input: 10, output: 20 } },
    loose: { plan: plan('one'), price: { input: 10, output: 20 }, fallbacks: ['named-nowhere'] },
    lone: { plan: plan('one'), price },
    once: { plan: plan('one', 'two'), price },
    three: { plan: plan('one', 'gone', 'two'), price },
    // Rests are kept by provider and model: a name of its own for each test keeps them apart.
    '*': { plan: plan('one', 'two'), price, retryAfterTimeout: true },
  },
  env: { ANSWER_TIMEOUT_MS: '2000', FIRST_BYTE_TIMEOUT_MS: '2000', IDLE_TIMEOUT_MS: '2000' },
})
const { one, two } = providers
const ask = (model: string, { secret = token, ...body }: { secret?: string; stream?: boolean } = {}) =>
  post(gateway, CHAT, { model, ...body }, bearer(secret))
t.beforeEach(() => {
  one.answer(chat())
  two.answer(chat())
})

const failing: Record<string, Behaviour> = {
  reset: faults.resetBeforeAnswer(),
  'first byte timeout': faults.hang(),
  'body timeout': faults.hangAfterHeaders(),
  garbage: faults.garbage(),
  'bad chunk': faults.badChunk(),
  'wrong length': faults.wrongLength(),
  'huge header': faults.hugeHeader(),
  redirect: faults.redirect('http://127.0.0.1:1/v1/chat/completions', 307),
  'html page': faults.html200(),
  'reset in the head': faults.resetAtByte(20, chat()),
  'reset in the body': faults.resetAtBodyByte(40, chat()),
}

t.test('whatever goes wrong with a provider before the first byte, the next one answers', async (t) => {
  const statuses = [401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 529].map(
    (code) => [`status ${code}`, status(code, { 'openai-model': 'of-the-failed' })] as const,
  )
  const kinds = [...Object.entries(failing), ...statuses]
  for (const chunk of [kinds.slice(0, 8), kinds.slice(8, 16), kinds.slice(16)]) {
    const outcomes = chunk.map(async ([kind, fault]) => {
      const model = `kind ${kind}`
      one.answer((seen) => chunk.find(([name]) => seen.json().model === `kind ${name}`)?.[1] ?? fault)
      const reply = await ask(model)
      t.match(
        reply,
        { status: 200, headers: { 'x-gateway-provider': 'two', 'x-gateway-attempts': '2' } },
        kind,
      )
      t.equal(reply.headers['openai-model'], undefined, 'no header of the failed attempt')
      t.equal(reply.json().object, 'chat.completion')
      const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
      t.match(row, { provider: 'two', attempts: 2, status: 200, charged_micros: 26e6 }, kind)
    })
    await Promise.all(outcomes)
  }
  t.match(await ask('refused'), { status: 200, headers: { 'x-gateway-attempts': '2' } })
})

t.test('a whole answer that timed out may have been made: nobody makes it again', async (t) => {
  const asked = two.requests.length
  for (const fault of [faults.hang(), faults.hangAfterHeaders()]) {
    one.queue(fault)
    const reply = await ask('once')
    t.match(reply, { status: 504, headers: { 'x-should-retry': 'false', 'x-gateway-attempts': '1' } })
    t.match(reply.json(), { error: { code: 'upstream_timeout', message: /not asked for again/ } })
    t.equal(reply.headers['retry-after'], undefined)
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    t.match(row, { status: 504, charged_micros: 0 })
  }
  t.equal(two.requests.length, asked)
  // Of a stream nothing was heard, and what has no output costs nothing to ask for twice.
  one.queue(faults.hang(), faults.hang())
  two.queue(chatStream())
  t.match((await ask('once', { stream: true })).headers, { 'x-gateway-provider': 'two' })
  const vectors = { object: 'list', data: [{ embedding: [1] }], usage: { prompt_tokens: 3, total_tokens: 3 } }
  two.queue(json(vectors))
  const body = { model: 'once', input: 'a' }
  t.match(await post(gateway, '/v1/embeddings', body, bearer(token)), { status: 200 })
})

t.test('a refusal of the request itself is nobody else’s to answer', async (t) => {
  const asked = two.requests.length
  for (const code of [400, 405, 409, 413, 415, 422]) {
    one.answer(status(code))
    t.match(await ask(`refusal ${code}`), { status: code, headers: { 'x-gateway-attempts': '1' } })
  }
  t.equal(two.requests.length, asked)
})

t.test('each provider sees its own key and its own name for the model alone', async (t) => {
  one.answer(status(500))
  await ask('first')
  await ask('keys')
  for (const [provider, own, other] of [
    [one, 'key-of-one', 'key-of-two'],
    [two, 'key-of-two', 'key-of-one'],
  ] as const) {
    for (const { headers, rawHeaders } of provider.requests) {
      t.equal(headers.authorization, `Bearer ${own}`)
      t.notMatch(rawHeaders.join(), new RegExp(`${other}|${token}`))
    }
  }
})

t.test('a fallback answers at its own price, for tokens that may use it', async (t) => {
  one.answer(status(500))
  const reply = await ask('first')
  t.match(reply.headers, { 'x-gateway-provider': 'two', 'x-gateway-model': 'second-at-two' })
  t.equal(reply.headers['x-gateway-credits-charged'], '260')
  t.match(await waitForRow(gateway, String(reply.headers['x-request-id'])), {
    model: 'first',
    provider: 'two',
    model_used: 'second-at-two',
    cost_micros: 260e6,
  })
  const limited = await mintToken(t, gateway, { user: 'limited', models: 'first' })
  const asked = two.requests.length
  t.match(await ask('first', { secret: limited }), { status: 502 })
  t.equal(two.requests.length, asked)
})

t.test(
  'a fallback that only the wildcard serves answers under its own name, at the wildcard’s price',
  async (t) => {
    one.answer(status(500))
    const reply = await ask('loose')
    t.match(reply, {
      status: 200,
      headers: { 'x-gateway-provider': 'two', 'x-gateway-model': 'named-nowhere' },
    })
    t.match(two.requests.at(-1)?.json(), { model: 'named-nowhere' })
    t.equal(reply.headers['x-gateway-credits-charged'], '26')
    const limited = await mintToken(t, gateway, { user: 'loosely-limited', models: 'loose' })
    const asked = two.requests.length
    t.match(await ask('loose', { secret: limited }), { status: 502 })
    t.equal(two.requests.length, asked)
  },
)

t.test('when all have failed the answer says so in one error, and nothing is charged', async (t) => {
  const before = await credits(gateway, token)
  const table = [
    [[500, 503], 502, 'upstream_failed', 'true'],
    [[401, 403], 502, 'upstream_failed', 'true'],
    [[404, 404], 404, 'model_not_found', 'false'],
    [[404, 500], 502, 'upstream_failed', 'true'],
    [[500, 504], 504, 'upstream_timeout', 'true'],
  ] as const
  for (const [[first, second], code, name, retry] of table) {
    one.answer(status(first))
    two.answer(status(second))
    const reply = await ask(`all ${first} ${second}`)
    t.match(reply, { status: code, headers: { 'x-should-retry': retry, 'x-gateway-attempts': '2' } })
    t.match(reply.json(), { error: { code: name, message: String, type: String } })
    t.equal(reply.headers['x-gateway-credits-charged'], '0')
    t.equal(
      Number(reply.headers['x-gateway-credits-remaining']),
      before.balance,
      'the hold has been released',
    )
    t.notMatch(reply.text, /provider says|127\.0\.0\.1|key-of/)
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    t.match(row, { status: code, attempts: 2, provider: '', cost_micros: 0, charged_micros: 0 })
  }
  one.answer(faults.resetAtBodyByte(40, chat()))
  const half = await ask('all, one in the middle')
  const row = await waitForRow(gateway, String(half.headers['x-request-id']))
  t.match(row, { status: 504, provider: '', model_used: '', first_byte_ms: 0, charged_micros: 0 })
  t.same(await credits(gateway, token), before)
})

t.test('a provider that fails five times rests, and one request probes it afterwards', async (t) => {
  one.answer(status(500))
  const tired = (n: number) => Promise.all(Array.from({ length: n }, () => ask('tired')))
  await tired(5)
  const asked = one.requests.length
  for (const reply of await tired(5)) t.match(reply.headers, { 'x-gateway-attempts': '1' })
  t.equal(one.requests.length, asked, 'it rests')
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  one.answer({ act: (call) => held.then(() => chat().act(call)) })
  const probes: Promise<unknown>[] = []
  await waitUntil(
    () => {
      probes.push(ask('tired'))
      return one.requests.length
    },
    (count) => count > asked,
  )
  for (const reply of await Promise.all([ask('tired'), ask('tired'), ask('tired')]))
    t.match(reply.headers, { 'x-gateway-provider': 'two' })
  t.equal(one.requests.length, asked + 1, 'one request alone')
  release()
  await Promise.all(probes)
  t.match((await ask('tired')).headers, { 'x-gateway-provider': 'one' })
})

t.test('a probe that ends in a success or in the client’s own mistake ends the rest', async (t) => {
  one.answer(status(500))
  for (let i = 0; i < 5; i++) await ask('mistaken')
  one.answer(status(400))
  await waitUntil(
    () => ask('mistaken'),
    (reply) => reply.status === 400,
  )
  t.match(await ask('mistaken'), { status: 400 })
})

t.test('a plan whose first provider does not know the model is served by its second', async (t) => {
  one.answer(status(404))
  const asked = one.requests.length
  for (let i = 0; i < 60; i++)
    t.match(await ask('missing at one'), { status: 200, headers: { 'x-gateway-provider': 'two' } })
  t.ok(one.requests.length - asked <= 10, `${one.requests.length - asked} times asked in vain`)
  t.match((await ask('missing at one')).headers, { 'x-gateway-attempts': '1' })
  one.answer(chat())
  t.match((await ask('known at one')).headers, { 'x-gateway-provider': 'one' }, 'its other models')
  const embeddings = await post(gateway, '/v1/embeddings', { model: 'missing at one' }, bearer(token))
  t.match(embeddings.headers, { 'x-gateway-provider': 'one' }, 'its other endpoints')
  await waitUntil(
    () => ask('missing at one'),
    (reply) => reply.headers['x-gateway-provider'] === 'one',
  )
})

t.test('a model that no provider of its plan knows is “not found” every time', async (t) => {
  one.answer(status(404))
  two.answer(status(404))
  const asked = one.requests.length
  for (const model of ['lone', 'missing everywhere']) {
    for (let i = 0; i < 20; i++) {
      const reply = await ask(model)
      t.match(reply, { status: 404, headers: { 'x-should-retry': 'false' } })
      t.match(reply.json(), { error: { code: 'model_not_found' } })
    }
  }
  t.ok(one.requests.length - asked >= 21)
  one.answer(chat())
  t.match(await ask('lone'), { status: 200 }, 'asked, however lately it did not know')
  two.answer(status(503, { 'retry-after': '60' }))
  one.answer(status(404))
  for (let i = 0; i < 2; i++) t.match(await ask('missing or away'), { status: 502 })
})

t.test('a failed attempt leaves no trace in the answer of the next, streamed or not', async (t) => {
  one.answer(status(500, { 'content-encoding': 'gzip', 'content-language': 'xx' }))
  two.answer(chatStream())
  const reply = await ask('traces', { stream: true })
  t.equal(reply.headers['content-encoding'], undefined)
  t.equal(reply.headers['content-language'], undefined)
  t.match(reply.text, /\[DONE\]/)
  one.answer(faults.resetAtBodyByte(100, json(chatBody('m', 'of-the-failed', SOME_COUNTS))))
  two.answer(chat({ content: 'of the second' }))
  t.match((await ask('half an answer')).json().choices[0].message.content, /^of the second$/)
})

const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n'
const CHUNKED = `${HEAD}transfer-encoding: chunked\r\n\r\n`
const bodiless: Record<string, Behaviour> = {
  closed: faults.bytes(`${HEAD}connection: close\r\n\r\n`),
  'cut in chunks': faults.bytes(CHUNKED),
  'cut before its length': faults.bytes(`${HEAD}content-length: 9\r\n\r\n`),
  'empty in chunks': faults.bytes(`${CHUNKED}0\r\n\r\n`),
  'bad chunk': faults.bytes(`${CHUNKED}ZZ\r\n`, { stay: true }),
  reset: faults.resetAtBodyByte(0, chatStream()),
}

t.test('a stream that sent its head alone has failed before its first byte', async (t) => {
  const before = await credits(gateway, token)
  one.answer((seen) => bodiless[String(seen.json().model)] ?? status(500))
  two.answer(chatStream())
  const outcomes = Object.keys(bodiless).map(async (kind) => {
    const reply = await ask(kind, { stream: true })
    t.match(reply, { status: 200, headers: { 'x-gateway-provider': 'two', 'x-gateway-attempts': '2' } }, kind)
    t.match(reply.text, /\[DONE\]\n\n$/, kind)
    t.notMatch(reply.text, /error/, kind)
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    t.match(row, { provider: 'two', attempts: 2, status: 200, charged_micros: 26e6 }, kind)
  })
  await Promise.all(outcomes)
  two.answer((seen) => bodiless[String(seen.json().model)] ?? status(500))
  const spent = (await credits(gateway, token)).charged
  t.equal(spent, before.charged + outcomes.length * 26)
  const refused = await ask('closed', { stream: true })
  t.match(refused, { status: 502, headers: { 'x-gateway-credits-charged': '0' } })
  t.same(await credits(gateway, token), { ...before, balance: before.credited - spent, charged: spent })
})

t.test(
  'the head of a silent stream reaches the client; when nothing follows nothing is charged',
  async (t) => {
    one.answer(faults.hangAfterHeaders('text/event-stream'))
    const before = await credits(gateway, token)
    const from = performance.now()
    const stream = await openStream(gateway, {
      path: CHAT,
      headers: bearer(token),
      body: { model: 'lone', stream: true, messages: [{ role: 'user', content: 'Are you there?' }] },
    })
    const tookMs = performance.now() - from
    t.match(stream, { status: 200, headers: { 'x-gateway-provider': 'one' } })
    const { text, cut } = await stream.rest()
    t.ok(performance.now() - from > tookMs + 500, 'long before the silence was too long')
    t.ok(cut)
    t.match(text, /upstream_/)
    const row = await waitForRow(gateway, String(stream.headers['x-request-id']))
    t.match(row, { status: 504, charged_micros: 0, provider: '' })
    t.same(await credits(gateway, token), before)
  },
)

t.test('a stream may be silent after its head for as long as between two events', async (t) => {
  one.answer({
    async act({ res }) {
      await setTimeout(1400)
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.flushHeaders()
      await setTimeout(1400)
      res.end('data: {"choices":[{"delta":{"content":"so"}}]}\n\ndata: [DONE]\n\n')
    },
  })
  const reply = await ask('thinks for long', { stream: true })
  t.match(reply, { status: 200, headers: { 'x-gateway-provider': 'one', 'x-gateway-attempts': '1' } })
  t.match(reply.text, /\[DONE\]\n\n$/)
})

t.test(
  'a head without a byte five times rests the provider, and a client that leaves pays nothing',
  async (t) => {
    const silent = faults.hangAfterHeaders('text/event-stream')
    one.answer((seen) => (seen.json().model === 'bodiless' && bodiless.closed) || silent)
    two.answer(chatStream())
    for (let i = 0; i < 5; i++) await ask('bodiless', { stream: true })
    t.match((await ask('bodiless', { stream: true })).headers, { 'x-gateway-attempts': '1' })
    const before = await credits(gateway, token)
    const [asked, left] = [one.requests.length, one.requests.filter((seen) => seen.aborted).length]
    const body = { model: 'left early', stream: true }
    const request = sendLeaving(gateway, { path: CHAT, headers: bearer(token), body })
    await one.waitForRequest(asked + 1)
    request.leave()
    await request.left
    await one.waitForAbort(left + 1)
    t.same(
      await waitUntil(
        () => credits(gateway, token),
        (now) => now.held === 0,
      ),
      before,
    )
  },
)

t.test('each timeout ends a call in its own time', async (t) => {
  const silent = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const timed = await startJourney(t, {
    providers: ['slow', 'slower', 'tls'],
    // A server that never shakes hands: connecting ends with the TLS handshake.
    entries: { tls: { baseUrl: `https://127.0.0.1:${(silent.address() as AddressInfo).port}/v1` } },
    models: {
      connect: 'tls',
      total: { plan: plan('slow', 'slower'), retryAfterTimeout: true },
      '*': 'slow',
    },
    env: {
      CONNECT_TIMEOUT_MS: '300',
      ANSWER_TIMEOUT_MS: '1500',
      FIRST_BYTE_TIMEOUT_MS: '600',
      TOTAL_TIMEOUT_MS: '2500',
    },
  })
  const { slow, slower } = timed.providers
  slower.answer(faults.hang())
  slow.answer((seen) => {
    const { model } = seen.json()
    if (model === 'silent head') return faults.hangAfterHeaders()
    return model === 'slow' ? faults.slowBody(100, { id: 'x'.repeat(100) }) : faults.hang()
  })
  const table = [
    ['connect', 300],
    ['answer', 1500],
    ['silent head', 1500],
    ['slow', 1500],
    ['first byte', 600],
    ['total', 2500],
  ] as const
  const measured = table.map(async ([model, afterMs]) => {
    const from = performance.now()
    const body = { model, stream: model === 'first byte' }
    const reply = await post(timed.gateway, CHAT, body, bearer(timed.token))
    const ms = performance.now() - from
    // Who asks again for what may have been made pays twice.
    const mayRepeat = ['connect', 'first byte', 'total'].includes(model)
    t.match(reply, { status: 504, headers: { 'x-should-retry': String(mayRepeat) } }, model)
    t.match(reply.json(), { error: { code: 'upstream_timeout' } })
    t.ok(ms >= afterMs - 20 && ms < afterMs + 1500, `${model}: ${Math.round(ms)} ms`)
    const row = await waitForRow(timed.gateway, String(reply.headers['x-request-id']))
    t.match(row, { status: 504, charged_micros: 0, attempts: model === 'total' ? 2 : 1 })
  })
  await Promise.all(measured)
  t.equal((await credits(timed.gateway, timed.token)).held, 0)
  t.equal(readRows(timed.gateway).length, table.length)
  await waitUntil(
    () => slow.requests.filter((seen) => seen.aborted).length,
    (aborted) => aborted === 5,
  )
})

t.test('a provider that comes back between two requests is not asked on a dead connection', async (t) => {
  const provider = await startProvider(t)
  const { gateway: other, token: secret } = await startJourney(t, {
    providers: ['own'],
    entries: { own: { baseUrl: provider.url } },
    models: { m: 'own' },
  })
  for (let i = 0; i < 5; i++) {
    provider.queue(json(chatBody('m', 'hi', SOME_COUNTS), { headers: { connection: 'close' } }))
    t.match(await post(other, CHAT, { model: 'm' }, bearer(secret)), { status: 200 })
  }
})
