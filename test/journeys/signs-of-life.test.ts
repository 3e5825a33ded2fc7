import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { chatStream } from '../support/answers.ts'
import { type Behaviour, json } from '../support/behaviour.ts'
import { bearer, openStream } from '../support/client.ts'
import { startJourney, waitForRow } from '../support/journey.ts'
import { chatEvents, SOME_COUNTS } from '../support/openai-wire.ts'
import { sse } from '../support/stream-behaviours.ts'
import { behindComments, ERROR_EVENT, pausing } from '../support/told-failures.ts'

const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two', 'three'],
  models: { '*': ['one', 'two', 'three'] },
  env: { SSE_HEARTBEAT_MS: '300' },
})
const { one, two, three } = providers
const SHAPE = { model: 'm', usage: SOME_COUNTS, usageNull: false, done: true } as const
const EVENTS = chatEvents({ ...SHAPE, words: ['so'], usageAt: 'in-finish' })
let names = 0

async function stream(first: Behaviour, second: Behaviour = chatStream()) {
  one.queue(first)
  two.answer(second)
  three.answer(chatStream())
  // Where nothing is hidden the provider's own pieces pass.
  const asked = { stream: true, stream_options: { include_usage: true } }
  const body = { model: `model-${names++}`, ...asked, messages: [{ role: 'user', content: 'hello' }] }
  const sent = { path: '/v1/chat/completions', headers: bearer(token), body }
  const opened = await openStream(gateway, sent)
  return { ...(await opened.rest()), id: String(opened.headers['x-request-id']) }
}

t.test('they follow an event whose empty line came by itself', async (t) => {
  const [role = '', word = '', ...rest] = EVENTS
  const slow: Behaviour = {
    async act({ res }) {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write(role + word.slice(0, -1))
      await setTimeout(50)
      res.write('\n')
      await setTimeout(1200)
      res.end(rest.join(''))
    },
  }
  t.match((await stream(slow)).text, /"so"[\s\S]*\n\n(?:: keep-alive\n\n){2,4}data: /)
})

t.test('they go on while another provider is asked, and says nothing', async (t) => {
  const silent: Behaviour = {
    async act({ res }) {
      await setTimeout(1500)
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.end(EVENTS.join(''))
    },
  }
  const { text, cut, id } = await stream(behindComments(600, [ERROR_EVENT]), silent)
  t.match(text, /PROCESSING\n\n(?:: keep-alive\n\n){3,6}data: /)
  t.notOk(cut)
  t.match(await waitForRow(gateway, id), { provider: 'two', attempts: 2, charged_micros: 19e6 })
})

t.test('behind a head only such an answer follows as it speaks of', async (t) => {
  const typed = { 'content-type': 'application/json' }
  for (const [second, provider] of [
    [sse(EVENTS, { headers: typed }), 'two'],
    [json({ error: { message: 'no' } }), 'three'],
    [json(' {}'), 'three'],
    [sse(EVENTS, { gzip: true }), 'three'],
    [pausing([], 10, []), 'three'],
    [json('', { headers: typed }), 'three'],
  ] as const) {
    const { text, cut, id } = await stream(behindComments(400, [ERROR_EVENT]), second)
    t.match(text, /^(?:: [\w-]+\n\n)+data: [\s\S]*\[DONE\]\n\n$/)
    t.notOk(cut)
    t.match(await waitForRow(gateway, id), { provider, estimated: 0 })
  }
})
