import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { chatStream } from '../support/answers.ts'
import { type Behaviour, json } from '../support/behaviour.ts'
import { bearer, openStream } from '../support/client.ts'
import { startJourney, waitForRow } from '../support/journey.ts'
import { chatEvents, SOME_COUNTS } from '../support/openai-wire.ts'
import { sse } from '../support/stream-behaviours.ts'
import { behindComments, ERROR_EVENT, pausing } from '../support/told-failures.ts'

const BEAT_MS = 300
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two', 'three'],
  models: { '*': ['one', 'two', 'three'] },
  env: { SSE_HEARTBEAT_MS: String(BEAT_MS) },
})
const { one, two, three } = providers
const BEAT = ': keep-alive\n\n'
const SHAPE = { model: 'm', usage: SOME_COUNTS, usageNull: false, done: true } as const
const EVENTS = chatEvents({ ...SHAPE, words: ['so'], usageAt: 'in-finish' })
let names = 0

/** A provider's silence, which lasts until the client has seen so many signs of life. */
function silence(signs: number) {
  const { promise: over, resolve } = Promise.withResolvers<void>()
  return { over, heard: (text: string) => text.split(BEAT).length > signs && resolve() }
}

async function stream(first: Behaviour, second: Behaviour = chatStream(), heard?: (text: string) => void) {
  one.queue(first)
  two.answer(second)
  three.answer(chatStream())
  // Where nothing is hidden the provider's own pieces pass.
  const asked = { stream: true, stream_options: { include_usage: true } }
  const body = { model: `model-${names++}`, ...asked, messages: [{ role: 'user', content: 'hello' }] }
  const sent = { path: '/v1/chat/completions', headers: bearer(token), body }
  const from = performance.now()
  const opened = await openStream(gateway, sent)
  let text = ''
  const id = String(opened.headers['x-request-id'])
  try {
    for await (const { bytes } of opened) {
      text += bytes
      heard?.(text)
    }
  } catch {
    return { text, cut: true, id, most: 0 }
  }
  // They come no oftener than they are set to.
  const most = Math.ceil((performance.now() - from) / BEAT_MS) + 1
  return { text, cut: false, id, most }
}

t.test('they follow an event whose empty line came by itself', async (t) => {
  const [role = '', word = '', ...rest] = EVENTS
  const { over, heard } = silence(2)
  const slow: Behaviour = {
    async act({ res }) {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      // A turn of the loop between two writes: they leave as two packets.
      await new Promise((sent) => res.write(role + word.slice(0, -1), sent))
      await setImmediate()
      res.write('\n')
      await over
      res.end(rest.join(''))
    },
  }
  const { text, most } = await stream(slow, chatStream(), heard)
  t.match(text, /"so"[\s\S]*\n\n(?:: keep-alive\n\n){2,}data: /)
  t.ok(text.split(BEAT).length - 1 <= most)
})

t.test('they go on while another provider is asked, and says nothing', async (t) => {
  const { over, heard } = silence(3)
  const silent: Behaviour = {
    async act({ res }) {
      await over
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.end(EVENTS.join(''))
    },
  }
  const { text, cut, id, most } = await stream(behindComments(600, [ERROR_EVENT]), silent, heard)
  t.match(text, /PROCESSING\n\n(?:: keep-alive\n\n){3,}data: /)
  t.ok(text.split(BEAT).length - 1 <= most)
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
