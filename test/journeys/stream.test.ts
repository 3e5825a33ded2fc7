import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { type ChatStreamed, chatStream, messageStream, responseStream } from '../support/answers.ts'
import { json, raw } from '../support/behaviour.ts'
import type { OpenStream } from '../support/client.ts'
import { bearer, credits, openStream, send, sendLeaving } from '../support/client.ts'
import * as faults from '../support/faults.ts'
import { mintToken } from '../support/gateway.ts'
import { startJourney, waitForRow, waitUntil } from '../support/journey.ts'
import { chatEvents, SOME_COUNTS } from '../support/openai-wire.ts'
import { controlled, sse } from '../support/stream-behaviours.ts'

const IDLE_MS = 1500
const price = { input: 1, output: 2 }
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two', 'claude', 'plain'],
  entries: { claude: { dialect: 'anthropic' }, plain: { usageOption: false } },
  models: {
    m: { plan: [{ provider: 'one' }], price, maxOutput: 1000 },
    both: { plan: [{ provider: 'one' }, { provider: 'two' }], price },
    sonnet: { plan: [{ provider: 'claude' }], price },
    unasked: { plan: [{ provider: 'plain' }], price },
  },
  env: { IDLE_TIMEOUT_MS: String(IDLE_MS) },
})
const { one, two, claude, plain } = providers
const open = (body: object, { path = '/v1/chat/completions', secret = token } = {}): Promise<OpenStream> =>
  openStream(gateway, { path, headers: bearer(secret), body: { model: 'm', stream: true, ...body } })
const read = async (body: object, how = {}) => {
  const stream = await open(body, how)
  return { ...(await stream.rest()), id: String(stream.headers['x-request-id']), ...stream }
}
const wholeChat = (rest: ChatStreamed = {}) =>
  chatEvents({
    model: 'm',
    words: rest.words ?? ['Hello', ', ', 'wörld', ' 👋', '!'],
    usageAt: 'nowhere',
    usage: SOME_COUNTS,
    usageNull: true,
    done: true,
  }).join('')
const event = (content: string) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`

t.test('a stream that is whole at once goes as one piece, with its price in its head', async (t) => {
  const asked = chatEvents({
    model: 'm',
    words: ['Hello'],
    usageAt: 'separate',
    usage: SOME_COUNTS,
    usageNull: true,
    done: true,
  }).join('')
  one.queue(raw(200, { 'content-type': 'text/event-stream' }, asked))
  const before = await credits(gateway, token)
  const { headers, text, cut, id } = await read({})
  const row = await waitForRow(gateway, id)
  t.notOk(cut)
  t.equal(text, wholeChat({ words: ['Hello'] }))
  t.equal(headers['content-length'], String(Buffer.byteLength(text)))
  t.equal(headers['transfer-encoding'], undefined)
  t.equal(Number(headers['x-gateway-credits-charged']), Number(row.charged_micros) / 1e6)
  t.equal(
    Number(headers['x-gateway-credits-remaining']),
    before.balance - Number(row.charged_micros) / 1e6,
    'nothing of the hold is missing any more',
  )
})

t.test('each event leaves before the next one arrives', async (t) => {
  const provider = controlled()
  one.queue(provider)
  const opening = open({})
  await provider.opened
  const stream = await opening
  t.match(stream, {
    status: 200,
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-gateway-provider': 'one',
      'x-gateway-attempts': '1',
      'x-gateway-credits-remaining': String,
    },
  })
  const pieces = stream[Symbol.asyncIterator]()
  for (let i = 0; i < 30; i++) {
    await provider.write(event(`wörd ${i}`))
    t.equal((await pieces.next()).value.bytes.toString(), event(`wörd ${i}`))
  }
  await provider.write('data: [DONE]\n\n')
  await provider.end()
  t.equal((await pieces.next()).value.bytes.toString(), 'data: [DONE]\n\n')
  t.ok((await pieces.next()).done)
})

t.test('usage is asked for and counted, its chunk hidden, wherever the bytes break', async (t) => {
  for (const chunking of ['event', 'bytes', 'split-utf8', 7, 100] as const) {
    one.queue(chatStream({ chunking }))
    const seen = await read({})
    t.equal(seen.text, wholeChat(), String(chunking))
    t.notOk(seen.cut)
    t.match(await waitForRow(gateway, seen.id), {
      cost_micros: 26e6,
      estimated: 0,
      output_tokens: 7,
      status: 200,
    })
  }
  t.match(one.requests.at(-1)?.json(), { stream_options: { include_usage: true } })
})

t.test('the usage chunk is hidden with CRLF and CR ends too, in one piece or in many', async (t) => {
  const all = wholeChat().replace('data: [DONE]\n\n', '')
  const counted = `data: {"id":"x","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19}}\n\n`
  for (const end of ['\r\n', '\r', '\n']) {
    for (const chunking of ['event', 'bytes', 5] as const) {
      const to = (text: string) => text.replaceAll('\n', end)
      one.queue(sse([to(all), to(counted), to('data: [DONE]\n\n')], { chunking }))
      const seen = await read({})
      t.equal(seen.text, to(`${all}data: [DONE]\n\n`), JSON.stringify([end, chunking]))
      t.match(await waitForRow(gateway, seen.id), { cost_micros: 26e6, estimated: 0 })
    }
  }
})

t.test('a client that asks for the usage chunk gets it; its other stream options stay', async (t) => {
  const asked = await read({ stream_options: { include_usage: true } })
  t.match(asked.text, /"choices":\[\],"usage":\{"prompt_tokens":12/)
  const table = [
    [
      { include_usage: false, other: 1 },
      { include_usage: true, other: 1 },
    ],
    [null, { include_usage: true }],
    [{ other: [1] }, { other: [1], include_usage: true }],
  ]
  for (const [sent, got] of table) {
    t.equal((await read({ stream_options: sent })).text, wholeChat())
    t.same(one.requests.at(-1)?.json().stream_options, got)
  }
})

t.test(
  'usage beside the last words stays there, and a provider that refuses the option is not asked',
  async (t) => {
    one.queue(chatStream({ usage: 'in-finish' }))
    const seen = await read({})
    t.match(seen.text, /"finish_reason":"stop"\}\],"usage":\{"prompt_tokens":12/)
    t.match(await waitForRow(gateway, seen.id), { cost_micros: 26e6, estimated: 0 })
    plain.queue(chatStream({ usage: 'always' }))
    const unasked = await read({ model: 'unasked' })
    t.equal(plain.requests.at(-1)?.json().stream_options, undefined)
    t.match(unasked.text, /"choices":\[\],"usage"/, 'nothing was added, so nothing is taken out')
    t.match(await waitForRow(gateway, unasked.id), { cost_micros: 26e6, estimated: 0 })
  },
)

t.test('Responses and Messages streams pass as they are and are counted', async (t) => {
  one.queue(responseStream({ chunking: 'split-utf8' }))
  const responses = await read({}, { path: '/v1/responses' })
  t.match(responses.text, /event: response.completed/)
  t.equal(one.requests.at(-1)?.json().stream_options, undefined)
  claude.queue(messageStream({ chunking: 'bytes', counts: { input: 30, cached: 20, output: 9 } }))
  const messages = await read({ model: 'sonnet', max_tokens: 50 }, { path: '/v1/messages' })
  t.match(messages.text, /event: message_stop/)
  t.match(await waitForRow(gateway, responses.id), { input_tokens: 12, output_tokens: 7, estimated: 0 })
  t.match(await waitForRow(gateway, messages.id), { input_tokens: 30, cached_tokens: 20, output_tokens: 9 })
})

t.test('a compressed stream passes as it is, and its report is counted', async (t) => {
  for (let i = 0; i < 5; i++) {
    one.queue(chatStream({ gzip: true }))
    const stream = await open({ stream_options: { include_usage: true } })
    t.equal(stream.headers['content-encoding'], 'gzip')
    const parts: Buffer[] = []
    for await (const { bytes } of stream) parts.push(bytes)
    t.match(gunzipSync(Buffer.concat(parts)).toString(), /wörld.*"total_tokens":19.*\[DONE\]/s)
    const row = await waitForRow(gateway, String(stream.headers['x-request-id']))
    t.match(row, { cost_micros: 26e6, estimated: 0 })
  }
})

t.test(
  'a client that leaves aborts the provider within a second, before and during the answer',
  async (t) => {
    const aborted = one.requests.filter((seen) => seen.aborted).length
    const waiting = controlled()
    one.queue(faults.hang(), waiting)
    const asked = one.requests.length
    const early = sendLeaving(gateway, {
      path: '/v1/chat/completions',
      headers: bearer(token),
      body: { model: 'm', stream: true },
    })
    await one.waitForRequest(asked + 1)
    let from = performance.now()
    early.leave()
    await one.waitForAbort(aborted + 1)
    t.ok(performance.now() - from < 1000)
    await early.left
    const stream = await open({ messages: [{ role: 'user', content: 'Tell me everything' }] })
    for (let i = 0; i < 20; i++) await waiting.write(event(' seven'))
    await stream[Symbol.asyncIterator]().next()
    from = performance.now()
    stream.abort()
    await one.waitForAbort(aborted + 2)
    t.ok(performance.now() - from < 1000)
    const row = await waitForRow(gateway, String(stream.headers['x-request-id']))
    t.match(row, { status: 499, estimated: 1, provider: 'one' })
    t.ok(Number(row.output_tokens) >= 1 && Number(row.output_tokens) <= 20)
    t.ok(Number(row.input_tokens) > 0)
    const { held } = await waitUntil(
      () => credits(gateway, token),
      (seen) => seen.held === 0,
    )
    t.equal(held, 0)
  },
)

t.test('a provider that dies in the middle: an error event in the client’s dialect, and a cut', async (t) => {
  const table = [
    [
      '/v1/chat/completions',
      'm',
      one,
      event('Hel'),
      /^data: \{"error":\{"message":"[^"]+","type":"api_error","param":null,"code":"upstream_failed"\}\}$/,
    ],
    [
      '/v1/responses',
      'm',
      one,
      event('Hel'),
      /^event: error\ndata: \{"type":"error","code":"upstream_failed","message":/,
    ],
    [
      '/v1/messages',
      'sonnet',
      claude,
      event('Hel'),
      /^event: error\ndata: \{"type":"error","error":\{"type":"api_error","message":"[^"]+"\},"request_id":/,
    ],
  ] as const
  for (const [path, model, provider, first, expected] of table) {
    // Also in the middle of an event: the error must not become a part of it.
    for (const half of ['', 'data: {"choices":[{"del']) {
      const dying = controlled()
      provider.queue(dying)
      const stream = await open({ model, max_tokens: 9 }, { path })
      await dying.write(first + half)
      await dying.reset()
      const { text, cut } = await stream.rest()
      t.ok(cut, 'never a clean end')
      t.match(text.trim().split('\n\n').at(-1), expected)
      t.ok(text.startsWith(first))
      t.notMatch(text, /\[DONE\]|message_stop|completed/)
      const row = await waitForRow(gateway, String(stream.headers['x-request-id']))
      t.match(row, { status: 502, estimated: 1 })
    }
  }
})

t.test('a stream that ends without its end is no whole answer', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n'
  one.queue(faults.bytes(head + event('Hel')))
  const broken = await read({})
  t.ok(broken.cut)
  t.match(broken.text, /upstream_failed/)
  one.queue(faults.bytes(head.replace('text/event', 'Text/Event') + event('Hel')))
  t.match((await read({})).text, /upstream_failed/, 'whatever the case of its type')
  one.queue(faults.bytes(`${head}${event('Hello')}data: [DONE]\n\n`))
  const whole = await read({})
  t.notOk(whole.cut)
  t.match(whole.text, /Hello.*\[DONE\]\n\n$/s)
})

t.test('silence longer than IDLE_TIMEOUT_MS ends a stream with an error event', async (t) => {
  const silent = controlled()
  one.queue(silent)
  const stream = await open({})
  await silent.write(event('Hel'))
  const { text, cut } = await stream.rest()
  t.ok(cut)
  t.match(text, /upstream_/)
  t.match(await waitForRow(gateway, String(stream.headers['x-request-id'])), { estimated: 1, status: 502 })
})

t.test('without a report the answer is counted with a tokenizer and marked', async (t) => {
  one.queue(chatStream({ usage: false, words: Array(40).fill(' seven') }))
  const seen = await read({ messages: [{ role: 'user', content: 'Count sevens' }] })
  const row = await waitForRow(gateway, seen.id)
  t.match(row, { estimated: 1, output_tokens: 40, status: 200 })
  t.equal(row.cost_micros, (Number(row.input_tokens) + 80) * 1e6)
})

t.test('a slow stream is cut when its bill has reached its hold, and not before', async (t) => {
  for (const balance of [616, 642, 655]) {
    const poor = await mintToken(t, gateway, { user: `slow${balance}`, credits: balance })
    const provider = controlled()
    one.queue(provider)
    const stream = await open({ messages: [] }, { secret: poor })
    const pieces = stream[Symbol.asyncIterator]()
    for (let i = 0, text = ''; !text.includes('insufficient_quota') && i < 1000; i++) {
      await provider.write(event(` seven${i}`))
      text = (await pieces.next()).value.bytes.toString()
    }
    const settled = await waitUntil(
      () => credits(gateway, poor),
      (now) => now.held === 0,
    )
    t.match(settled, { balance: 0, charged: balance })
  }
})

t.test(
  'a stream that has used up its hold is cut with an error event, and the balance ends at zero',
  async (t) => {
    const poor = await mintToken(t, gateway, { user: 'poor', credits: 600 })
    const long = Array.from({ length: 3000 }, (_, i) => event(` seven${i}`))
    one.queue(sse([...long, 'data: [DONE]\n\n']))
    const seen = await read({ messages: [] }, { secret: poor })
    t.ok(seen.cut)
    t.match(seen.text.trim().split('\n\n').at(-1), /"code":"insufficient_quota"/)
    t.notMatch(seen.text, /seven2999|\[DONE\]/)
    t.same(
      await waitUntil(
        () => credits(gateway, poor),
        (now) => now.held === 0,
      ),
      {
        credited: 600,
        balance: 0,
        held: 0,
        charged: 600,
      },
    )
    t.match(await waitForRow(gateway, seen.id), { charged_micros: 600e6, estimated: 1 })
  },
)

t.test(
  'an error before the stream is a plain error, and a plain answer to a stream request passes',
  async (t) => {
    one.queue(json('{"error":{"message":"no"}}', { status: 400 }), json({ id: 'plain', choices: [{}] }))
    t.match(
      await send(gateway, {
        method: 'POST',
        path: '/v1/chat/completions',
        headers: bearer(token),
        body: { model: 'm', stream: true },
      }),
      {
        status: 400,
        text: '{"error":{"message":"no"}}',
      },
    )
    t.equal((await read({})).text, '{"id":"plain","choices":[{}]}')
    one.queue(raw(503, {}))
    two.queue(chatStream())
    const stream = await open({ model: 'both' })
    t.match(stream.headers, { 'x-gateway-provider': 'two', 'x-gateway-attempts': '2' })
    await stream.rest()
  },
)

const rssBytes = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.pid}/status`, 'utf8'))?.[1]) * 1024

t.test('a reader that stops holds its provider back, and is cut when it stops for good', async (t) => {
  const big = Buffer.from(event('x'.repeat(16_000)))
  let sent = 0
  one.queue({
    async act({ res }) {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      const more = () => {
        while (!res.destroyed && sent < 200e6) {
          sent += big.length
          if (!res.write(big)) return
        }
      }
      res.on('drain', more)
      more()
    },
  })
  const aborted = one.requests.filter((seen) => seen.aborted).length
  const before = rssBytes()
  const stream = await open({ model: 'm', max_tokens: 9_000_000 }, { secret: gateway.masterToken })
  stream.pause()
  await one.waitForAbort(aborted + 1)
  t.ok(sent < 30e6, `the provider could send ${sent} bytes`)
  t.ok(rssBytes() - before < 60e6, 'nothing was buffered')
  t.match(await waitForRow(gateway, String(stream.headers['x-request-id'])), { status: 499 })
  stream.abort()
})
