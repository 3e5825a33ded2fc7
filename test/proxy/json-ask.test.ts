import fc from 'fast-check'
import t from 'tap'
import { GatheredBytes } from '../../src/gathered-bytes.ts'
import { readJsonAsk } from '../../src/proxy/json-ask.ts'
import { wholeOf } from '../../src/proxy/whole.ts'
import { ENDPOINTS } from '../../src/routing/endpoints.ts'

const at = (path: string) => {
  const endpoint = ENDPOINTS.find((each) => each.path === path)
  if (!endpoint) throw new Error(path)
  return endpoint
}
const CHAT = at('/chat/completions')
const whole = (body: Buffer) => wholeOf([body])
const read = (body: string, path = '/chat/completions') => readJsonAsk(at(path), whole(Buffer.from(body)))
const rewritten = (body: string, model: string, askForUsage = false): string =>
  String(read(body).bodyFor(model, askForUsage)?.body)

t.test('the model is renamed, and no other byte is touched', (t) => {
  const odd =
    '\n{ "messages" :[{"role":"user","content":"é\\u00e9\\n👋 \\"model\\":\\"x\\""}],\t"temperature":1.0,"big":9007199254740993,' +
    '"huge":1e400,"dup":1,"dup":2,"model":"MODEL","nested":{"model":"inner"},"tail":[ ]}\r\n'
  const sent = odd.replace('MODEL', 'gpt')
  t.equal(rewritten(sent, 'gpt'), sent, 'the same name: the very same bytes')
  t.equal(rewritten(sent, 'a-much-longer/name'), odd.replace('MODEL', 'a-much-longer/name'))
  t.end()
})

t.test('a name that equals the wanted one is not even copied', (t) => {
  const body = Buffer.from('{"model":"m"}')
  t.equal(readJsonAsk(CHAT, whole(body)).bodyFor('m', false)?.body, body)
  t.end()
})

t.test('a large body in any number of chunks is sent as it came, also after the next one has come', (t) => {
  const gather = (pieces: readonly Buffer[]) => {
    const gathered = new GatheredBytes(10 * 1024 * 1024)
    for (const piece of pieces) gathered.copy(piece)
    return whole(gathered.take())
  }
  const bodyOf = (letter: string, model: string) =>
    Buffer.from(`{"stream":true,"messages":"${letter.repeat(200_000)}","model":"${model}"}`)
  const chunksOf = (body: Buffer, size: number) =>
    Array.from({ length: Math.ceil(body.length / size) }, (_, i) => body.subarray(i * size, (i + 1) * size))
  for (const size of [1, 7_919, 65_536, 100_000]) {
    const first = readJsonAsk(CHAT, gather(chunksOf(bodyOf('a', 'asked'), size)))
    readJsonAsk(CHAT, gather(chunksOf(bodyOf('b', 'other'), 65_536)))
    const sent = first.bodyFor('wanted', true)
    const bytes = Array.isArray(sent?.body) ? Buffer.concat(sent.body) : Buffer.alloc(0)
    const wanted = `{"stream_options":{"include_usage":true},${bodyOf('a', 'wanted').toString().slice(1)}`
    t.ok(bytes.equals(Buffer.from(wanted)), `chunks of ${size}`)
    t.equal(sent?.length, wanted.length)
    t.ok(first.text?.().equals(bodyOf('a', 'asked')))
  }
  t.end()
})

t.test('of several "model" keys the last counts, and a provider sees no other name', (t) => {
  const body = '{"model":"forbidden","a":1,"mod\\u0065l":"hidden","model":"allowed"}'
  t.equal(read(body).model, 'allowed')
  t.equal(rewritten(body, 'allowed'), '{"model":"allowed","a":1,"mod\\u0065l":"allowed","model":"allowed"}')
  t.end()
})

t.test('usage is asked for whatever stands in stream_options, and everything in it stays', (t) => {
  const table: [string, string][] = [
    ['', '"stream_options":{"include_usage":true},'],
    ['"stream_options":null,', '"stream_options":{"include_usage":true},'],
    ['"stream_options":{},', '"stream_options":{"include_usage":true},'],
    ['"stream_options":{ },', '"stream_options":{ "include_usage":true},'],
    ['"stream_options":{"x":1.0},', '"stream_options":{"x":1.0,"include_usage":true},'],
    [
      '"stream_options":{"include_usage":false},',
      '"stream_options":{"include_usage":false,"include_usage":true},',
    ],
  ]
  for (const [sent, got] of table) {
    const body = `{${sent}"model":"m","stream":true}`
    t.equal(read(body).mustAskForUsage, true, sent)
    t.equal(rewritten(body, 'm', true), `{${got}"model":"m","stream":true}`)
  }
  const asked = '{"stream_options":{"include_usage":true},"model":"m","stream":true}'
  t.match(read(asked), { mustAskForUsage: false, wantsUsage: true })
  t.match(read('{"model":"m"}'), { mustAskForUsage: false })
  t.match(read('{"model":"m","stream":true}', '/responses'), { mustAskForUsage: false })
  t.end()
})

const noProto = (value: unknown) => !JSON.stringify(value).includes('__proto__')
const options = fc.constantFrom(undefined, null, {}, { include_usage: false }, { other: [1, '}'] })

t.test('any object keeps its value but for model and include_usage, and its bytes but for theirs', (t) => {
  const object = fc.dictionary(
    fc.string({ unit: 'grapheme' }).filter((key) => !/^(model|stream|n|max_|background)/.test(key)),
    fc.jsonValue(),
    { noNullPrototype: true },
  )
  const name = fc.string({ minLength: 1, maxLength: 30, unit: 'grapheme-ascii' })
  fc.assert(
    fc.property(object.filter(noProto), name, name, options, (rest, asked, wanted, stream_options) => {
      const extra = stream_options === undefined ? {} : { stream_options }
      const sent = { ...rest, model: asked, ...extra, stream: true }
      const text = JSON.stringify(sent)
      const got = rewritten(text, wanted, true)
      t.same(JSON.parse(got), {
        ...sent,
        model: wanted,
        stream_options: { ...stream_options, include_usage: true },
      })
      const untouched = JSON.stringify(rest).slice(1, -1)
      t.ok(got.includes(untouched), 'the other members stand as they were sent')
    }),
    { numRuns: 300 },
  )
  t.end()
})

t.test('each wrong field is named in a refusal', (t) => {
  const table: [string, string, string | null][] = [
    ['{}', 'missing_model', 'model'],
    ['{"model":null}', 'missing_model', 'model'],
    ['{"model":""}', 'missing_model', 'model'],
    ['{"model":1}', 'invalid_request', 'model'],
    ['{"model":["m"]}', 'invalid_request', 'model'],
    ['{"model":"a\\u0000b"}', 'invalid_request', 'model'],
    [`{"model":"${'m'.repeat(257)}"}`, 'invalid_request', 'model'],
    ['{"model":"m","stream":"true"}', 'invalid_request', 'stream'],
    ['{"model":"m","stream_options":[]}', 'invalid_request', 'stream_options'],
    ['{"model":"m","max_tokens":-1}', 'invalid_request', 'max_tokens'],
    ['{"model":"m","max_tokens":1e400}', 'invalid_request', 'max_tokens'],
    ['{"model":"m","n":0}', 'invalid_request', 'n'],
    ['{"model":"m","n":129}', 'invalid_request', 'n'],
    ['{"model":"m","background":true}', 'invalid_request', 'background'],
    ['{"model":"m","__proto__":{}}', 'invalid_json', '__proto__'],
    ['{"model":"m","\\u005f_proto__":{}}', 'invalid_json', '__proto__'],
    ['["model"]', 'invalid_json', null],
  ]
  for (const [body, code, param] of table) t.throws(() => read(body), { code, param }, body)
  t.end()
})

t.test('null stands for absent in every optional field', (t) => {
  const ask = read('{"model":"m","stream":null,"stream_options":null,"n":null,"max_tokens":null}')
  t.match(ask, { choices: 1, outputLimit: undefined, mustAskForUsage: false })
  t.end()
})

t.test('what a request may cost is read from its fields', (t) => {
  t.match(read('{"model":"m","n":3,"max_tokens":5,"max_completion_tokens":9}'), {
    choices: 3,
    outputLimit: 9,
  })
  t.match(read('{"model":"m","n":4}', '/images/generations'), { images: 4 })
  t.match(read('{"model":"m","input":"wörld👋"}', '/audio/speech'), { characters: 6 })
  t.end()
})
