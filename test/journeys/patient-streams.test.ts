import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { chatStream } from '../support/answers.ts'
import type { Behaviour } from '../support/behaviour.ts'
import { raw } from '../support/behaviour.ts'
import { bearer, openStream } from '../support/client.ts'
import { startJourney, waitForRow } from '../support/journey.ts'
import { chatEvents, SOME_COUNTS } from '../support/openai-wire.ts'

const CHAT = '/v1/chat/completions'
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  models: { '*': ['one', 'two'] },
  env: { SSE_HEARTBEAT_MS: 'off' },
})
const { one, two } = providers
const SHAPE = { model: 'm', usage: SOME_COUNTS, usageNull: false, done: true } as const
const EVENTS = chatEvents({ ...SHAPE, words: ['so', ' it', ' is'], usageAt: 'in-finish' })
const SSE = { 'content-type': 'text/event-stream' }
let names = 0

interface Seen {
  ms: number
  text: string
}

/** What came of a stream, each read with its time. */
async function stream(first: Behaviour) {
  one.queue(first)
  two.answer(chatStream())
  const body = { model: `model-${names++}`, stream: true, messages: [{ role: 'user', content: 'hello' }] }
  const from = performance.now()
  const opened = await openStream(gateway, { path: CHAT, headers: bearer(token), body })
  const seen: Seen[] = []
  for await (const { bytes } of opened) seen.push({ ms: performance.now() - from, text: String(bytes) })
  const text = seen.map((each) => each.text).join('')
  return { seen, text, id: String(opened.headers['x-request-id']) }
}

t.test('a stream that ends no event with an empty line, or not its last one, is an answer', async (t) => {
  const lines = EVENTS.join('').replaceAll('\n\n', '\n')
  const lone = EVENTS.slice(1, 2).join('')
  for (const whole of [lines, lines.slice(0, -1), lone.slice(0, -1), lone.slice(0, -2)]) {
    const { text, id } = await stream(raw(200, SSE, whole))
    t.equal(text, whole)
    t.match(await waitForRow(gateway, id), { provider: 'one', attempts: 1 })
  }
  for (const none of [lone.slice(0, 40), 'data: {"error":{"message":"no"}}\n', 'data: [DONE]\n']) {
    const { id } = await stream(raw(200, SSE, none))
    t.match(await waitForRow(gateway, id), { provider: 'two', attempts: 2 }, none)
  }
})

/** A head, and then each of these with the silence before it. */
function slowly(...parts: [ms: number, text: string][]): Behaviour {
  return {
    async act({ res }) {
      res.writeHead(200, SSE)
      res.flushHeaders()
      for (const [ms, text] of parts) {
        await setTimeout(ms)
        res.write(text)
      }
      res.end()
    },
  }
}

t.test('where signs of life are off there are none but the provider’s own', async (t) => {
  const [role = '', ...rest] = EVENTS
  for (const first of [': PROCESSING\n\n', role]) {
    const { text } = await stream(slowly([400, first], [700, rest.join('')]))
    t.equal(text, first + rest.join(''), first)
  }
})

t.test('what says that an answer has begun waits 250 ms, however much of it comes', async (t) => {
  const [role = '', ...rest] = EVENTS
  for (const first of ['', ': PROCESSING\n\n']) {
    const roles = Array.from({ length: 10 }, (): [number, string] => [120, role])
    const { seen } = await stream(slowly([0, first], [300, ''], ...roles, [120, rest.join('')]))
    const begun = seen.filter(({ text }) => text.includes('"role"'))
    t.ok(begun.length > 3, `each leaves when it comes: ${begun.length}`)
    // On a busy machine all of it takes longer.
    const [at = 0, last = 0] = [begun[0]?.ms, seen.at(-1)?.ms]
    t.ok(at < last * 0.75, `after ${at} of ${last} ms`)
  }
})
