import t from 'tap'
import { mintToken } from '../support/gateway.ts'
import { open } from '../support/realtime.ts'
import { done, echoUsage, realtimeScene } from '../support/realtime-scene.ts'

const LONG = 'A'.repeat(300_000)
const APPEND = '"type":"input_audio_buffer.append"'
const CREATE = '"type":"response.create"'

const scene = await realtimeScene(t, echoUsage(10, 10))
const token = await mintToken(t, scene.gateway)

/** Sends one event as it is written here; resolves with how the gateway ended the socket. */
const sendAndClose = async (event: string | Buffer, split = event.length) => {
  const client = await open(t, { url: scene.url, token })
  client.send({ type: 'first' })
  for (let at = 0; at < event.length; at += split)
    client.socket.send(event.slice(at, at + split), { fin: at + split >= event.length })
  const { code } = await client.closed
  return { code, error: client.events.at(-1) }
}

t.test(
  'an event whose type or model has two readings never arrives, and its socket is told why',
  async (t) => {
    const events: [string, string, string][] = [
      ['a second type', `{${APPEND},${CREATE}}`, 'type'],
      ['a second type behind a long string', `{${APPEND},"audio":"${LONG}",${CREATE}}`, 'type'],
      ['another case', `{${APPEND},"Type":"response.create"}`, 'type'],
      ['another case alone', '{"TYPE":"response.create"}', 'type'],
      ['an escape', `{${APPEND},"t\\u0079pe":"response.create"}`, 'type'],
      ['a LONG S', `{"type":"session.update","\u017fession":{"model":"other"}}`, 'session'],
      ['two sessions', '{"type":"session.update","session":{},"session":{"model":"other"}}', 'session'],
      ['two models', '{"type":"session.update","session":{"model":"m","model":"other"}}', 'session.model'],
      ['a Model', '{"type":"response.create","response":{"Model":"other"}}', 'response.model'],
    ]
    for (const [name, event, param] of events) {
      for (const split of [event.length, 1000]) {
        const { code, error } = await sendAndClose(event, split)
        t.equal(code, 1008, name)
        t.match(error, { type: 'error', error: { code: 'invalid_json', param } }, name)
      }
    }
    t.same(
      new Set(scene.provider.received.map(({ type }) => type)),
      new Set(['first']),
      'nothing else arrived',
    )
  },
)

t.test('an event that names another model than the socket’s never arrives', async (t) => {
  for (const event of [
    '{"type":"session.update","session":{"model":"other"}}',
    `{"type":"session.update","session":{"instructions":"${LONG}","model":"other"}}`,
    '{"type":"response.create","response":{"model":"other"}}',
    '{"type":"response.create","model":"M"}',
  ]) {
    const { code, error } = await sendAndClose(event)
    t.equal(code, 1008)
    t.match(error, { type: 'error', error: { code: 'model_not_allowed' } })
  }
  t.same(new Set(scene.provider.received.map(({ type }) => type)), new Set(['first']))
})

t.test('what cannot be read as a JSON object never arrives, though a lenient reader could', async (t) => {
  const asks = '"type":"session.update","session":{"type":"realtime","model":"other"}'
  const nested = `${'['.repeat(101)}${']'.repeat(101)}`
  const events: [string, string][] = [
    ['deep nesting', `{"a":${nested},${asks}}`],
    ['deep nesting behind a long string', `{"pad":"${LONG}","a":${nested},${asks}}`],
    ['a long number', `{"a":${'1'.repeat(601)},${asks}}`],
    ['a long name', `{"${'a'.repeat(600)}":1,${asks}}`],
    ['a raw tab', `{"a":"\t",${asks}}`],
    ['a raw line feed', `{"a":"\n",${asks}}`],
    ['a byte order mark', `\ufeff{${asks}}`],
    ['NaN', `{"a":NaN,${asks}}`],
    ['a comment', `/**/{${asks}}`],
    ['a list', `[{${asks}}]`],
    ['two objects', `{"type":"x"}{${asks}}`],
    ['words', 'hello'],
  ]
  const binary: [string, Buffer][] = [
    ['UTF-16', Buffer.from(`{${asks}}`, 'utf16le')],
    ['UTF-16 with a mark', Buffer.from(`\ufeff{${asks}}`, 'utf16le')],
    ['UTF-16, big end first', Buffer.from(`{${asks}}`, 'utf16le').swap16()],
  ]
  const all = [...events, ...binary, ...events.map(([name, event]) => [name, Buffer.from(event)] as const)]
  for (const [name, event] of all) {
    const { code, error } = await sendAndClose(event)
    t.equal(code, 1008, name)
    t.match(error, { type: 'error', error: { code: 'invalid_json' } }, name)
  }
  t.same(new Set(scene.provider.received.map(({ type }) => type)), new Set(['first']))
})

t.test('everything else passes as it came: the socket’s own model, other doubles, long events', async (t) => {
  const client = await open(t, { url: scene.url, token })
  const before = scene.provider.received.length
  const events = [
    '{"type":"session.update","session":{"model":"m","voice":"a","voice":"b","Voice":"c"}}',
    '{"type":"session.update","session":{"model":"m-upstream"}}',
    `{"audio":"${LONG}","type":"input_audio_buffer.append"}`,
    '{"type":"conversation.item.create","item":{"type":"message","Type":"x","content":[{"type":"a"},{"type":"b"}]}}',
    '{"type":"response.create"}',
  ]
  for (const event of events) client.socket.send(event)
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  t.equal(scene.provider.received.length, before + events.length)
  t.equal(client.socket.readyState, 1)
})
