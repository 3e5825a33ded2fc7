import t from 'tap'
import { NO_USAGE } from '../../src/dialects/usage.ts'
import { createTally } from '../../src/metering/realtime.ts'

const bytes = (event: unknown) => Buffer.from(JSON.stringify(event))
const EMPTY = Buffer.alloc(0)

t.test('what passes unreported is estimated, on top of what was reported last', (t) => {
  const tally = createTally()
  tally.sent('input_audio_buffer.append', EMPTY, 64_000)
  t.match(tally.estimate(), { inputTokens: 10, outputTokens: 0, estimated: true })
  tally.received('response.output_text.delta', 160 + 400)
  tally.received('response.output_audio.delta', 160 + 6_400)
  tally.received('session.updated', 5_000)
  t.match(tally.estimate(), { outputTokens: 102 })
  tally.reported({ ...NO_USAGE, inputTokens: 50, outputTokens: 7 })
  t.match(tally.estimate(), { inputTokens: 57, outputTokens: 0 })
  t.end()
})

t.test('what a next response will read is known within bounds', async (t) => {
  const tally = createTally()
  const item = (content: object) => bytes({ type: 'conversation.item.create', item: { content: [content] } })
  tally.reported({ ...NO_USAGE, inputTokens: 500, outputTokens: 100 })
  tally.sent('conversation.item.create', item({ type: 'input_text', text: '' }), 4_000)
  t.same(tally.nextInput(), { mostTokens: 1_600, leastTokens: 1_600 })
  tally.sent('conversation.item.create', item({ type: 'input_image' }), 400_000)
  t.same(tally.nextInput(), { mostTokens: 101_600, leastTokens: 1_600 + 2_048 })
  tally.sent('conversation.item.create', item({ type: 'input_audio' }), 64_000)
  t.same(tally.nextInput(), { mostTokens: 117_600, leastTokens: 1_600 + 2_048 + 10 })
})

t.test('a report that counts little takes back nothing that was counted or sent', async (t) => {
  const item = (bytes: number) => ['conversation.item.create', EMPTY, bytes] as const
  const ask = (response?: object) => {
    const event = bytes({ type: 'response.create', response })
    return ['response.create', event, event.length] as const
  }
  const small = { ...NO_USAGE, inputTokens: 10 }
  const later = createTally()
  later.reported({ ...NO_USAGE, inputTokens: 5_000 })
  later.reported(small)
  t.same(later.nextInput(), { mostTokens: 5_000, leastTokens: 5_000 })
  const parallel = createTally()
  parallel.begun()
  parallel.sent(...item(40_000))
  parallel.reported(small)
  t.same(parallel.nextInput(), { mostTokens: 10_010, leastTokens: 10_010 }, 'sent after it began')
  parallel.sent(...ask())
  parallel.sent(...item(4_000))
  parallel.begun()
  parallel.reported({ ...NO_USAGE, inputTokens: 10_020 })
  t.same(parallel.nextInput(), { mostTokens: 11_020, leastTokens: 11_020 }, 'sent behind its ask')
  for (let count = 0; count < 50; count += 1) parallel.sent(...ask())
  parallel.begun()
  parallel.reported({ ...NO_USAGE, inputTokens: 12_000 })
  t.match(
    parallel.nextInput(),
    { mostTokens: 12_000 + Math.ceil((49 * 26) / 4) },
    'asks that came to nothing',
  )
  const asides: (readonly [string | undefined, Buffer, number])[] = [
    ask({ conversation: 'none' }),
    ask({ input: [] }),
    ['response.create', Buffer.from('{"type":"response.create","response":{"\\u0069nput":[]}}'), 53],
    ['response.create', bytes({ type: 'response.create' }), 5_000],
    [undefined, bytes({ item: 'cut' }), 5_000],
  ]
  for (const aside of asides) {
    const tally = createTally()
    tally.sent(...item(40_000))
    tally.sent(...aside)
    const before = tally.nextInput()
    tally.begun()
    tally.reported(small)
    t.same(tally.nextInput(), before, String(aside[1]))
  }
  const whole = createTally()
  whole.sent(...item(40_000))
  whole.sent(...ask({ instructions: 'be brief' }))
  whole.begun()
  whole.reported(small)
  t.same(whole.nextInput(), { mostTokens: 10, leastTokens: 10 }, 'silence that was trimmed')
  const silent = createTally()
  silent.begun()
  silent.received('response.output_text.delta', 160 + 400)
  silent.reported(silent.estimate())
  t.same(silent.nextInput(), { mostTokens: 100, leastTokens: 100 }, 'an answer that nobody counted')
})
