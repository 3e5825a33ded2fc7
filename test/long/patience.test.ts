import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { type Behaviour, type Call, OPENAI_HEADERS } from '../support/behaviour.ts'
import { bearer, credits, openStream, post } from '../support/client.ts'
import * as faults from '../support/faults.ts'
import { startJourney, waitForRow, waitUntil } from '../support/journey.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const EVENT = 'data: {"choices":[{"index":0,"delta":{"content":"Hello!"}}]}\n\n'
const END = 'data: [DONE]\n\n'
/** Longer than a stream may be silent here. */
const LONG_MS = 750
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  entries: { two: { timeouts: { answerMs: 500, firstByteMs: 2000, idleMs: 2000, totalMs: 2500 } } },
  models: {
    'of-the-provider': 'two',
    'of-the-model': { plan: [{ provider: 'two' }], timeouts: { answerMs: 2000 } },
    'short-in-all': { plan: [{ provider: 'one' }], timeouts: { totalMs: 900 } },
    // The second is given what is left of its own time, counted from the request's beginning.
    both: { plan: [{ provider: 'two' }, { provider: 'one' }], retryAfterTimeout: true },
    '*': 'one',
  },
  env: {
    ANSWER_TIMEOUT_MS: '3000',
    FIRST_BYTE_TIMEOUT_MS: '500',
    IDLE_TIMEOUT_MS: '500',
    TOTAL_TIMEOUT_MS: '10000',
  },
})
const { one, two } = providers
const ask = (model: string, more: object = {}) => post(gateway, CHAT, { model, ...more }, bearer(token))
const stream = (model: string) =>
  openStream(gateway, { path: CHAT, headers: bearer(token), body: { model, stream: true } })

function after(ms: number, inner: Behaviour): Behaviour {
  return {
    async act(call: Call) {
      await setTimeout(ms)
      await inner.act(call)
    },
  }
}

t.afterEach(async () => {
  const now = await waitUntil(
    () => credits(gateway, token),
    ({ held }) => held === 0,
  )
  t.equal(now.held, 0)
})

t.test('a whole answer may be thought about for longer than a stream may be silent', async (t) => {
  one.queue(after(LONG_MS, chat()))
  t.match(await ask('thinks'), { status: 200, headers: { 'x-gateway-attempts': '1' } })
  one.queue({
    async act({ res }) {
      // Some send their head, or a blank line, while the model still thinks.
      res.writeHead(200, { 'content-type': 'application/json', ...OPENAI_HEADERS })
      res.flushHeaders()
      await setTimeout(LONG_MS)
      res.write('\n')
      await setTimeout(LONG_MS)
      res.end('{"choices":[{"message":{"content":"Hello!"}}]}')
    },
  })
  t.match(await ask('thinks behind its head'), { status: 200, text: /Hello!/ })
})

t.test('comments keep a stream alive, before its first event and inside it', async (t) => {
  const slow = controlled()
  one.queue(slow)
  const waiting = stream('comments')
  const say = async (text: string) => {
    for (let i = 0; i < 5; i++) {
      await setTimeout(LONG_MS / 5)
      await slow.write(text)
    }
  }
  await say(': OPENROUTER PROCESSING\n\n')
  await slow.write(EVENT)
  await say(':\n')
  await slow.write(`\n${END}`)
  await slow.end()
  const { text, cut } = await (await waiting).rest()
  t.notOk(cut)
  t.match(text, /Hello!.*\[DONE\]/s)
})

t.test('a stream has its own time to its first byte, and one for its silence', async (t) => {
  one.queue(faults.hang())
  const from = performance.now()
  t.match(await ask('says nothing', { stream: true }), { status: 504 })
  const ms = performance.now() - from
  t.ok(ms >= 450 && ms < 2500, `${Math.round(ms)} ms`)
  const begun = controlled()
  one.queue(begun)
  const opened = await Promise.all([stream('stops'), begun.write(EVENT)])
  const { text, cut } = await opened[0].rest()
  t.ok(cut)
  t.match(text, /Hello!.*upstream_/s)
})

t.test('a provider has its own times, and a model its own before those', async (t) => {
  const slow = after(LONG_MS, chat())
  two.queue(slow, slow)
  const [short, long] = await Promise.all([ask('of-the-provider'), ask('of-the-model')])
  t.match(short, { status: 504 })
  t.match(long, { status: 200 })
  const silent = controlled()
  two.queue(silent)
  const opened = stream('of-the-provider')
  await setTimeout(LONG_MS)
  await silent.write(EVENT)
  await setTimeout(LONG_MS)
  await silent.write(END)
  await silent.end()
  t.match(await (await opened).rest(), { cut: false, text: /\[DONE\]/ })
})

t.test('what a request may take in all is its own too, and the next provider has its own', async (t) => {
  one.queue(faults.hang())
  const from = performance.now()
  const short = await ask('short-in-all')
  const ms = performance.now() - from
  t.match(short, { status: 504 })
  t.ok(ms >= 850 && ms < 2500, `${Math.round(ms)} ms`)
  t.match(await waitForRow(gateway, String(short.headers['x-request-id'])), { charged_micros: 0 })
  two.queue(faults.hang())
  one.queue(after(2300, chat()))
  t.match(await ask('both'), { status: 200, headers: { 'x-gateway-provider': 'one' } })
})
