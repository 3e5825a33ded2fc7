import fc from 'fast-check'
import t from 'tap'
import { DIALECTS } from '../../src/dialects/endpoints.ts'
import { createEventSplitter, dataOf, readUsageOnlyEvent, sawEnd } from '../../src/metering/sse.ts'

const lineEnd = fc.constantFrom('\n', '\r\n', '\r')
const line = fc.oneof(
  fc.constantFrom('data: {"a":"é😀"}', 'event: ping', ': comment', 'data', 'id: 7', 'data: [DONE]'),
  fc.string({ unit: 'grapheme', minLength: 1 }).map((text) => `data: ${text.replace(/[\r\n]/g, '')}`),
)
/** Both ends of a line written alike, so that a CR and an LF never meet by chance. */
const event = fc
  .tuple(fc.array(line, { minLength: 1, maxLength: 4 }), lineEnd)
  .map(([lines, end]) => lines.map((text) => text + end).join('') + end)

const cut = (bytes: Buffer, cuts: number[]) => {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length))
}

t.test('every byte of a stream comes out once and in order, wherever the chunks break', async (t) => {
  const bytes = fc.oneof(
    fc.array(event).map((events) => Buffer.from(events.join(''))),
    fc.array(fc.constantFrom(10, 13, 97, 0xc3)).map((all) => Buffer.from(all)),
  )
  const check = fc.property(bytes, fc.array(fc.nat(), { maxLength: 40 }), (whole, cuts) => {
    const splitter = createEventSplitter()
    const out = cut(whole, cuts).flatMap((chunk) => splitter.push(chunk))
    return Buffer.concat([...out, splitter.rest()]).equals(whole)
  })
  fc.assert(check, { numRuns: 500 })
  t.pass()
})

t.test('the pieces are the events, wherever the chunks break', async (t) => {
  const check = fc.property(fc.array(event), fc.array(fc.nat(), { maxLength: 40 }), (events, cuts) => {
    const splitter = createEventSplitter()
    const out = cut(Buffer.from(events.join('')), cuts).flatMap((chunk) => splitter.push(chunk))
    // An LF that was separated from its CR by the network comes alone.
    const found = out.map(String).filter((text) => text !== '\n')
    t.equal(found.length, events.length)
    for (const [index, text] of found.entries()) t.equal(text.trimEnd(), events[index]?.trimEnd())
    t.equal(splitter.rest().length, 0)
  })
  fc.assert(check, { numRuns: 100 })
})

t.test('an event leaves as soon as it is whole, in every way to write a blank line', async (t) => {
  for (const end of ['\n\n', '\r\n\r\n', '\r\r', '\n\r\n', '\r\n\n', '\n\r']) {
    const splitter = createEventSplitter()
    t.same(splitter.push(Buffer.from(`data: 1${end}`)).map(String), [`data: 1${end}`], JSON.stringify(end))
    t.same(splitter.push(Buffer.from(`data: 2${end}`)).map(String), [`data: 2${end}`])
  }
})

t.test('an event cut inside a letter comes out whole', async (t) => {
  const splitter = createEventSplitter()
  const whole = Buffer.from('data: "😀"\n\ndata: x')
  const out = [...whole].flatMap((byte) => splitter.push(Buffer.from([byte])))
  t.same(out.map(String), ['data: "😀"\n\n'])
  t.equal(String(splitter.rest()), 'data: x')
})

t.test('an event beyond the limit is refused, one of exactly that length is not', async (t) => {
  const limit = 100
  const whole = Buffer.from(`data: ${'x'.repeat(limit - 8)}\n\n`)
  t.equal(whole.length, limit)
  t.equal(createEventSplitter(limit).push(whole).length, 1)
  const longer = Buffer.concat([Buffer.from('data: y'), whole.subarray(6)])
  t.throws(() => createEventSplitter(limit).push(longer), { code: 'EVENT_TOO_LARGE' })
  const splitter = createEventSplitter(limit)
  t.throws(() => [...longer].map((byte) => splitter.push(Buffer.from([byte]))), { code: 'EVENT_TOO_LARGE' })
})

t.test(
  'a megabyte that arrives byte by byte, or as one line among many ends, takes no quadratic time',
  async (t) => {
    const splitter = createEventSplitter(2 ** 21)
    const one = Buffer.from('x')
    const start = process.cpuUsage()
    for (let i = 0; i < 2 ** 20; i++) splitter.push(one)
    createEventSplitter(2 ** 23).push(Buffer.from('a\r'.repeat(2 ** 21)))
    const { user, system } = process.cpuUsage(start)
    t.equal(splitter.rest().length, 2 ** 20)
    t.ok(user + system < 3_000_000, `${user + system} us`)
  },
)

t.test("an event's data is read as a browser reads it", async (t) => {
  for (const [event, data] of [
    ['data: {"a":1}\n\n', '{"a":1}'],
    ['data:x\r\n\r\n', 'x'],
    ['event: e\ndata: 1\ndata: 2\nid: 3\n\n', '1\n2'],
    ['data\n\n', ''],
    ['\uFEFFdata:  y\r\r', ' y'],
    [': ping\n\n', undefined],
    ['\n', undefined],
  ] as const) {
    t.equal(dataOf(Buffer.from(event)), data, JSON.stringify(event))
  }
})

const USAGE = '{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}'

t.test('the extra usage chunk is told from all that a client must see', async (t) => {
  for (const [data, isExtra] of [
    [`{"id":"c","choices":[],"usage":${USAGE}}`, true],
    [`{"id": "c", "choices": [ ], "usage": ${USAGE}}`, true],
    [`{"usage":${USAGE},"choices":[]}`, true],
    [`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":${USAGE}}`, false],
    ['{"choices":[],"usage":null}', false],
    ['{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}', false],
    [`{"choices":[{"delta":{"content":"\\"choices\\":[]"}}],"usage":${USAGE}}`, false],
    [`{"x":{"choices":[]},"choices":[{"delta":{}}],"usage":${USAGE}}`, false],
    [`{"choices":[],"usage":${USAGE},"error":{"message":"overloaded"}}`, false],
    ['{"choices":[],"usage":', false],
    ['[DONE]', false],
  ] as const) {
    t.equal(readUsageOnlyEvent(Buffer.from(`data: ${data}\n\n`)) !== undefined, isExtra, data)
  }
})

t.test('the end of a whole answer is seen, and only that', async (t) => {
  const long = 'x'.repeat(500)
  for (const [kind, tail, isWhole] of [
    ['openai-chat', 'data: {"choices":[]}\n\ndata: [DONE]\n\n', true],
    ['openai-chat', 'data:[DONE]\r\n\r\n', true],
    ['openai-chat', 'data: [DONE]\n\n: ping\n\n', true],
    ['openai-chat', 'data: {"choices":[{"delta":{"content":"[DONE]"}}]}\n\n', false],
    ['openai-chat', 'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}', false],
    ['anthropic-messages', 'event: message_stop\ndata: {"type":"message_stop"}\n\n', true],
    [
      'anthropic-messages',
      'event: message_stop\r\ndata: {"type": "message_stop"}\r\n\r\nevent: ping\r\ndata: {"type":"ping"}\r\n\r\n',
      true,
    ],
    ['anthropic-messages', 'data: {"type":"content_block_delta","delta":{"text":"message_stop"}}\n\n', false],
    ['anthropic-messages', 'event: message_stop\ndata: {"type":"mess', false],
    ['openai-responses', 'data: {"type":"response.completed","response":{"usage":{}}}\n\n', true],
    ['openai-responses', 'data: {"type":"response.incomplete","response":{}}\n\n', true],
    ['openai-responses', 'data: {"type":"response.failed","response":{}}\n\n', true],
    [
      'openai-responses',
      'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n',
      false,
    ],
    ['openai-responses', `${long}"}],"usage":{"input_tokens":1,"output_tokens":2},"user":null}}\n\n`, true],
    ['openai-responses', `${long}"}],"usage":{"input_tokens":1,"output_tokens":2},"user":nul`, false],
    ['openai-transcription', 'data: {"type":"transcript.text.done","text":"hi"}\n\n', true],
    ['openai-images', `${long}","usage":{"input_tokens":1,"output_tokens":2}}\n\n`, true],
    ['openai-chat', '', false],
  ] as const) {
    t.equal(sawEnd(DIALECTS[kind], Buffer.from(tail)), isWhole, `${kind} ${tail.slice(-80)}`)
  }
})
