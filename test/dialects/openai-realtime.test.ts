import t from 'tap'
import { kindOf, readEventUsage, readType } from '../../src/dialects/openai-realtime.ts'
import { NO_USAGE } from '../../src/dialects/usage.ts'
import { usageOf } from '../support/realtime.ts'

const bytes = (event: unknown) => Buffer.from(JSON.stringify(event))
const EMPTY = Buffer.alloc(0)

t.test('the type is found wherever it stands at the top', (t) => {
  t.equal(readType(bytes({ type: 'response.done', response: {} })), 'response.done')
  t.equal(readType(bytes({ event_id: 'e', n: 1, type: 'response.create' })), 'response.create')
  t.equal(readType(bytes({ response: { type: 'x' }, type: 'response.done' })), 'response.done')
  t.equal(readType(bytes({ text: 'a "type": "response.done"', type: 'other' })), 'other')
  t.equal(readType(Buffer.from('not json')), undefined)
  t.equal(kindOf('response.created'), 'begun')
  t.equal(kindOf('response.output_audio.delta'), 'other')
  t.end()
})

t.test('usage is read from a whole event and from a cut one', (t) => {
  const usage = usageOf(120, 30, 100)
  const wanted = { ...NO_USAGE, inputTokens: 120, cachedTokens: 100, outputTokens: 30 }
  const small = bytes({ type: 'response.done', response: { output: [], usage } })
  t.same(readEventUsage('done', { head: small, tail: EMPTY, bytes: small.length }), wanted)
  const large = bytes({ type: 'response.done', response: { output: ['x'.repeat(200_000)], usage } })
  const cut = { head: large.subarray(0, 65_536), tail: large.subarray(-16_384), bytes: large.length }
  t.same(readEventUsage('done', cut), wanted)
  const silent = bytes({ type: 'response.done', response: { usage: null } })
  t.equal(readEventUsage('done', { head: silent, tail: EMPTY, bytes: silent.length }), undefined)
  const heard = bytes({ type: 'x', usage: { type: 'duration', seconds: 7 } })
  t.match(readEventUsage('transcribed', { head: heard, tail: EMPTY, bytes: heard.length }), { seconds: 7 })
  t.end()
})
