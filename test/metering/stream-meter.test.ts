import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { DialectName } from '../../src/config/endpoints.ts'
import { DIALECTS } from '../../src/dialects/endpoints.ts'
import { createStreamMeter } from '../../src/metering/stream-meter.ts'

const KEPT_BYTES = 16 * 1024

const eventOf = (value: unknown) => Buffer.from(`data: ${JSON.stringify(value)}\n\n`)
const delta = (fields: unknown) => ({ choices: [{ index: 0, delta: fields }] })

const meterOf = (kind: DialectName, bytes: Buffer, step: number) => {
  const meter = createStreamMeter(DIALECTS[kind])
  for (let at = 0; at < bytes.length; at += step) meter.push(bytes.subarray(at, at + step))
  return meter
}

t.test('the last 16 KiB are kept, however the stream is chunked', async (t) => {
  const bytes = Buffer.from(Array.from({ length: 100_001 }, (_, i) => (i * 31 + (i >> 8)) % 256))
  for (const length of [0, 1, 1023, KEPT_BYTES - 1, KEPT_BYTES, KEPT_BYTES + 1, 2 * KEPT_BYTES, 100_001]) {
    const stream = bytes.subarray(0, length)
    for (const step of [977, 5000, KEPT_BYTES, KEPT_BYTES + 3, 100_001]) {
      const meter = meterOf('openai-chat', stream, step)
      t.equal(meter.bytes(), length)
      t.ok(meter.tail().equals(stream.subarray(-KEPT_BYTES)), `${length} in steps of ${step}`)
    }
  }
})

t.test('a caller may reuse its buffer', async (t) => {
  const meter = createStreamMeter(DIALECTS['openai-chat'])
  const chunk = eventOf(delta({ content: 'hello' }))
  meter.push(chunk)
  chunk.fill(0)
  t.equal(meter.outputText().text, 'hello')
})

t.test('the text that a client got is all that a model wrote', async (t) => {
  const call = { index: 0, function: { name: 'f', arguments: '{"a":' } }
  for (const [kind, events, text] of [
    [
      'openai-chat',
      [delta({ role: 'assistant', content: '' }), delta({ content: 'a😀' }), delta({ content: null })],
      'a😀',
    ],
    [
      'openai-chat',
      [delta({ reasoning_content: 'r' }), delta({ reasoning: 's' }), delta({ refusal: 'n' })],
      'rsn',
    ],
    ['openai-chat', [delta({ reasoning_content: 'r', reasoning: 'r' })], 'r'],
    [
      'openai-chat',
      [delta({ tool_calls: [call] }), delta({ tool_calls: [{ function: { arguments: '1}' } }] })],
      'f{"a":1}',
    ],
    ['openai-chat', [{ choices: [{ text: 'old' }] }, { choices: [] }, { error: {} }], 'old'],
    [
      'openai-chat',
      [
        delta({ content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'thought ' }] }] }),
        delta({ reasoning_details: [{ type: 'reasoning.text', text: 'more ' }] }),
        delta({ tool_calls: [{ index: 0, custom: { name: 'f', input: '(x)' } }] }),
      ],
      'thought more f(x)',
    ],
    [
      'openai-chat',
      [delta({ audio: { id: 'a', transcript: 'said' } }), delta({ audio: { data: 'A'.repeat(6_400) } })],
      'said a a',
    ],
    [
      'openai-responses',
      [
        { type: 'response.output_text.delta', delta: 'a' },
        { type: 'response.reasoning_summary_text.delta', delta: 'b' },
        { type: 'response.function_call_arguments.delta', delta: 'c' },
        { type: 'response.audio.delta', delta: 'QUJD' },
        { type: 'response.output_text.done', text: 'a' },
      ],
      'abc',
    ],
    [
      'anthropic-messages',
      [
        { type: 'message_start', message: { content: [] } },
        { type: 'content_block_delta', delta: { type: 'text_delta', text: 'a' } },
        { type: 'content_block_delta', delta: { type: 'thinking_delta', thinking: 'b' } },
        { type: 'content_block_delta', delta: { type: 'input_json_delta', partial_json: 'c' } },
        { type: 'content_block_delta', delta: { type: 'signature_delta', signature: 'zzz' } },
      ],
      'abc',
    ],
    ['openai-transcription', [{ type: 'transcript.text.delta', delta: 'hi' }], 'hi'],
  ] as [DialectName, unknown[], string][]) {
    const bytes = Buffer.concat([
      Buffer.from(': hello\n\n'),
      ...events.map(eventOf),
      Buffer.from('data: [DONE]\n\n'),
    ])
    t.same(meterOf(kind, bytes, 7).outputText(), { text, share: 1 }, text)
  }
})

t.test('a text of up to 32 KiB is read whole, of a longer one the first and the last', async (t) => {
  const words = (count: number) =>
    Buffer.concat(Array.from({ length: count }, (_, i) => eventOf(delta({ content: `${i} ` }))))
  const short = words(500)
  t.ok(short.length > KEPT_BYTES && short.length < 2 * KEPT_BYTES)
  const all = Array.from({ length: 500 }, (_, i) => `${i} `).join('')
  t.same(meterOf('openai-chat', short, 61).outputText(), { text: all, share: 1 })
  const long = words(5000)
  const { text, share } = meterOf('openai-chat', long, 61).outputText()
  t.equal(share, (2 * KEPT_BYTES) / long.length)
  t.ok(text.startsWith('0 1 2 ') && text.endsWith(' 4998 4999 '))
  t.ok(Math.abs(text.split(' ').length / share - 5000) < 100)
})

t.test('text in events that are longer than what is kept counts, files in them do not', async (t) => {
  const text = 'The river "bends" twice\n'.repeat(2_000)
  const all = JSON.stringify(text).length
  const said = { content: text }
  const called = { tool_calls: [{ index: 0, function: { name: 'f', arguments: text } }] }
  for (const [kind, events, length] of [
    ['openai-chat', [delta(said)], all],
    ['openai-chat', [delta({ content: 'a' }), delta(called), delta(said), delta({ content: 'b' })], 2 * all],
    ['openai-chat', Array.from({ length: 20 }, () => delta({ content: text.slice(0, 6_000) })), 120_000],
    ['anthropic-messages', [{ type: 'content_block_delta', delta: { partial_json: text } }], all],
    ['openai-chat', [delta({ images: [{ image_url: { url: 'QUJD'.repeat(20_000) } }] })], 0],
    ['openai-responses', [{ type: 'response.output_text.done', text }], 0],
    ['openai-responses', [{ type: 'response.completed', response: { text } }], 0],
  ] as [DialectName, unknown[], number][])
    for (const step of [100, 1448, 200_000]) {
      const seen = meterOf(kind, Buffer.concat(events.map(eventOf)), step).outputText()
      const counted = seen.text.length / seen.share
      t.ok(counted >= length * 0.85 && counted <= length * 1.1, `${kind}: ${counted} of ${length}`)
    }
})

t.test(
  'a stream keeps at most 40 KiB of memory, however large the buffers that it is cut from',
  async (t) => {
    setFlagsFromString('--expose-gc')
    const gc: () => void = runInNewContext('gc')
    const piece = (bytes: number) => Buffer.alloc(64 * 1024).subarray(0, bytes)
    for (const first of [1000, 5000, 20_000]) {
      const feed = (meter: ReturnType<typeof createStreamMeter>) => {
        meter.push(piece(first))
        for (let i = 0; i < 40; i++) meter.push(piece(1000))
      }
      gc()
      await setImmediate()
      const before = process.memoryUsage().arrayBuffers
      const meters = Array.from({ length: 50 }, () => createStreamMeter(DIALECTS['openai-chat']))
      meters.forEach(feed)
      // Freed buffers are given back by another thread.
      for (let turns = 0; turns < 5; turns++) {
        gc()
        await setImmediate()
      }
      const kept = (process.memoryUsage().arrayBuffers - before) / meters.length
      t.ok(meters.every((meter) => meter.bytes() === first + 40_000))
      t.ok(kept < 40 * 1024, `${kept} bytes a stream, of which the first chunk had ${first}`)
    }
  },
)
