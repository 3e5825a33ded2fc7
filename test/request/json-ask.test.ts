import fc from 'fast-check'
import t from 'tap'
import { ENDPOINTS } from '../../src/dialects/endpoints.ts'
import type { Ask } from '../../src/request/ask.ts'
import { GatheredBytes } from '../../src/request/gathered-bytes.ts'
import { foldName, PAID_FIELDS, ROUTING_FIELDS } from '../../src/request/guarded-fields.ts'
import { readJsonAsk, type WholeBody, wholeOf } from '../../src/request/json-ask.ts'

const at = (path: string) => {
  const endpoint = ENDPOINTS.find((each) => each.path === path)
  if (!endpoint) throw new Error(path)
  return endpoint
}
const CHAT = at('/chat/completions')
const whole = (body: Buffer) => wholeOf([body])
const never = { inTurns: () => Promise.reject(new Error('it was not read at once')), refuse() {} }
/** Bodies of this size are read at once. */
const readWhole = (endpoint: typeof CHAT, body: WholeBody): Ask => {
  const ask = readJsonAsk(endpoint, body, never)
  if (ask instanceof Promise) throw new Error('it was not read at once')
  return ask
}
const read = (body: string, path = '/chat/completions') => readWhole(at(path), whole(Buffer.from(body)))
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
  t.equal(readWhole(CHAT, whole(body)).bodyFor('m', false)?.body, body)
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
    const first = readWhole(CHAT, gather(chunksOf(bodyOf('a', 'asked'), size)))
    readWhole(CHAT, gather(chunksOf(bodyOf('b', 'other'), 65_536)))
    const sent = first.bodyFor('wanted', true)
    const bytes = Array.isArray(sent?.body) ? Buffer.concat(sent.body) : Buffer.alloc(0)
    const wanted = `{"stream_options":{"include_usage":true},${bodyOf('a', 'wanted').toString().slice(1)}`
    t.ok(bytes.equals(Buffer.from(wanted)), `chunks of ${size}`)
    t.equal(sent?.length, wanted.length)
    t.ok(first.text?.().equals(bodyOf('a', 'asked')))
  }
  t.end()
})

t.test('a field that decides rights or money may stand once, as it is spelled', (t) => {
  const names = ['model', 'stream', 'stream_options', 'n', 'best_of', 'max_tokens', 'max_completion_tokens']
  names.push('max_output_tokens', 'background', 'service_tier', 'models', 'route', 'provider')
  for (const name of names) {
    const big = name.toUpperCase()
    const first = name === 'model' ? '' : '"model":"m",'
    for (const fields of [`"${name}":null,"${name}":null`, `"${big}":null`, `"${name}":null,"${big}":null`])
      t.throws(() => read(`{${first}${fields}}`), { code: 'invalid_json', param: name }, fields)
  }
  t.throws(() => read('{"model":"m","input":"a","Input":"b"}', '/audio/speech'), { code: 'invalid_json' })
  t.equal(read('{"model":"m","input":"a","Input":"b"}', '/embeddings').model, 'm', 'priced by tokens')
  t.throws(() => read('{"model":"cheap","mod\\u0065l":"dear"}'), { code: 'invalid_json', param: 'model' })
  t.end()
})

t.test('what another router would follow is refused, unless it is null', (t) => {
  for (const name of [
    'models',
    'route',
    'provider',
    'preset',
    'plugins',
    'fallbacks',
    'extra_body',
    'api_base',
  ]) {
    t.throws(() => read(`{"model":"m","${name}":["x"]}`), { code: 'invalid_request', param: name })
    t.equal(read(`{"model":"m","${name}":null}`).model, 'm')
  }
  t.end()
})

t.test('the models of hosted tools are told apart from what a function takes', (t) => {
  const tools = [
    { type: 'image_generation', model: 'gpt-image-1' },
    { type: 'function', function: { parameters: { properties: { model: { type: 'string' } } } } },
    { type: 'x', model: null },
  ]
  t.same(read(JSON.stringify({ model: 'm', tools }), '/responses').besides, ['gpt-image-1'])
  t.end()
})

t.test('a body that is not UTF-8 is refused, wherever', (t) => {
  const bodies = ['{"model":"cheap","\xc1\xadodel":"dear"}', '{"model":"m","a":"\xff"}', '\xff\xfe{\0}\0']
  for (const body of [...bodies, '{"model":"cheap","x":"\xc0\xa2,\xc0\xa2model\xc0\xa2:1"}'])
    t.throws(() => readWhole(CHAT, whole(Buffer.from(body, 'latin1'))), { code: 'invalid_json' })
  t.throws(() => readWhole(CHAT, whole(Buffer.from('{"model":"m"}', 'utf16le'))), { code: 'invalid_json' })
  t.throws(() => readWhole(CHAT, whole(Buffer.from('\ufeff{"model":"m"}'))), { code: 'invalid_json' })
  t.end()
})

t.test('a large body is read in many turns, each a few milliseconds, and comes out the same', async (t) => {
  const filling = '"a":1,'.repeat(1_000_000)
  const sent = Buffer.from(`{${filling}"n":2,"model":"asked","stream":true}`)
  let [turns, longestMs] = [0, 0]
  const inTurns = async (step: () => boolean): Promise<void> => {
    for (let isOver = false; !isOver; turns += 1) {
      const from = process.cpuUsage()
      isOver = step()
      const { user, system } = process.cpuUsage(from)
      longestMs = Math.max(longestMs, (user + system) / 1000)
    }
  }
  const chunks = Array.from({ length: 100 }, (_, i) => sent.subarray(i * 65_536, (i + 1) * 65_536))
  const ask = await readJsonAsk(
    CHAT,
    { view: sent, chunks: chunks.filter(({ length }) => length > 0) },
    { inTurns, refuse() {} },
  )
  t.match(ask, { model: 'asked', choices: 2, mustAskForUsage: true })
  t.ok(turns > 5, `${turns} turns`)
  t.ok(longestMs < 50, `${longestMs} ms at once`)
  const { body } = ask.bodyFor('wanted', true) ?? {}
  const bytes = Array.isArray(body) ? Buffer.concat(body).toString() : ''
  t.equal(bytes, `{"stream_options":{"include_usage":true},${filling}"n":2,"model":"wanted","stream":true}`)
})

t.test('a large body whose model is not served is read no further', async (t) => {
  const body = Buffer.from(`{"model":"dear",${'"a":1,'.repeat(1_000_000)}"n":2}`)
  let turns = 0
  const inTurns = async (step: () => boolean): Promise<void> => {
    while (!step()) turns += 1
  }
  const refuse = (model: string): void => {
    throw new Error(`not ${model}`)
  }
  await t.rejects(async () => readJsonAsk(CHAT, whole(body), { inTurns, refuse }), { message: 'not dear' })
  t.equal(turns, 0)
})

t.test('usage is asked for whatever stands in stream_options, and everything in it stays', (t) => {
  const table: [string, string][] = [
    ['', '"stream_options":{"include_usage":true},'],
    ['"stream_options":null,', '"stream_options":{"include_usage":true},'],
    ['"stream_options":{},', '"stream_options":{"include_usage":true},'],
    ['"stream_options":{ },', '"stream_options":{ "include_usage":true},'],
    ['"stream_options":{"x":1.0},', '"stream_options":{"x":1.0,"include_usage":true},'],
    ['"stream_options":{"include_usage":false,"x":1},', '"stream_options":{"include_usage":true,"x":1},'],
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

t.test('OpenRouter’s word for it is asking too; others are asked in OpenAI’s', (t) => {
  const asked = '{"usage":{"include":true},"model":"m","stream":true}'
  t.match(read(asked), { mustAskForUsage: true, wantsUsage: true })
  t.equal(rewritten(asked, 'm', true), `{"stream_options":{"include_usage":true},${asked.slice(1)}`)
  for (const usage of ['{"include":false}', 'true', 'null', '{}'])
    t.match(read(`{"usage":${usage},"model":"m","stream":true}`), { wantsUsage: false }, usage)
  t.end()
})

t.test('where OpenAI has a usual model, a body without one names it on its way', (t) => {
  const sentOn = (body: string, path = '/moderations', model = 'up'): string =>
    String(read(body, path).bodyFor(model, false)?.body)
  t.equal(read('{"input":"x"}', '/moderations').model, 'omni-moderation-latest')
  t.equal(read('{"prompt":"x"}', '/images/generations').model, 'dall-e-2')
  t.equal(read('{"prompt":"x"}', '/images/edits').model, 'gpt-image-1.5')
  t.equal(read('{"input":"x","model":"m"}', '/moderations').model, 'm')
  t.equal(sentOn('{"input":"x"}'), '{"model":"up","input":"x"}')
  t.equal(sentOn(' \n{ \n}'), ' \n{"model":"up" \n}')
  t.equal(sentOn('{"input":"x","model":null}'), '{"input":"x","model":"up"}')
  for (const [body, path] of [
    ['{"input":"x","model":""}', '/moderations'],
    ['{"input":"x"}', '/embeddings'],
    ['{}', '/responses/input_tokens'],
  ] as const)
    t.throws(() => read(body, path), { code: 'missing_model' }, `${path} ${body}`)
  t.end()
})

const noProto = (value: unknown) => !JSON.stringify(value).includes('__proto__')
const options = fc.constantFrom(undefined, null, {}, { include_usage: false }, { other: [1, '}'] })

t.test('any object keeps its value but for model and include_usage, and its bytes but for theirs', (t) => {
  const object = fc.dictionary(
    fc.string({ unit: 'grapheme' }).filter((key) => !PAID_FIELDS.byFold.has(foldName(key))),
    fc.jsonValue(),
    { noNullPrototype: true },
  )
  const name = fc
    .string({ minLength: 1, maxLength: 30, unit: 'grapheme-ascii' })
    .filter((each) => each === each.trim())
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
    ['{"model":"m "}', 'invalid_request', 'model'],
    ['{"model":"\\u00a0m"}', 'invalid_request', 'model'],
    ['{"model":"m\\u200b"}', 'invalid_request', 'model'],
    ['{"model":"e\\u0301"}', 'invalid_request', 'model'],
    ['{"model":"m","best_of":129}', 'invalid_request', 'best_of'],
    [`{"model":"${'m'.repeat(257)}"}`, 'invalid_request', 'model'],
    ['{"model":"m","stream":"true"}', 'invalid_request', 'stream'],
    ['{"model":"m","stream_options":[]}', 'invalid_request', 'stream_options'],
    ['{"model":"m","max_tokens":-2}', 'invalid_request', 'max_tokens'],
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

t.test('only a response runs in the background: an image has one', (t) => {
  for (const background of ['transparent', 'opaque', 'auto']) {
    for (const path of ['/images/generations', '/images/edits'])
      t.equal(read(JSON.stringify({ model: 'm', background }), path).model, 'm', `${path} ${background}`)
  }
  for (const background of ['true', '"true"', '1', '"auto"']) {
    const body = `{"model":"m","background":${background}}`
    t.throws(() => read(body, '/responses'), { code: 'invalid_request', param: 'background' }, body)
  }
  t.equal(read('{"model":"m","background":false}', '/responses').model, 'm')
  t.end()
})

t.test('no field that chooses another model passes, and none passes for another', (t) => {
  for (const name of ROUTING_FIELDS) {
    for (const value of ['"dear"', '{"m":["dear"]}', '["dear"]'])
      t.throws(() => read(`{"model":"m","${name}":${value}}`), { code: 'invalid_request', param: name }, name)
    t.throws(() => read(`{"model":"m","${name}":null,"${name}":1}`), { code: 'invalid_json', param: name })
    t.throws(() => read(`{"model":"m","${name.toUpperCase()}":1}`), { code: 'invalid_json', param: name })
  }
  const litellm = ['deployment_id', 'context_window_fallback_dict', 'engine', 'deployment', 'model_id']
  litellm.push('litellm_params', 'fallback_models', 'router_settings')
  for (const name of litellm)
    t.throws(() => read(`{"model":"m","${name}":"dear"}`), { code: 'invalid_request', param: name }, name)
  const all = ROUTING_FIELDS.map((name) => `"${name}":null`).join()
  t.equal(read(`{"model":"m","n":1,"stream":true,"best_of":1,${all}}`).model, 'm', 'each counts for itself')
  t.end()
})

t.test('null stands for absent in every optional field', (t) => {
  const ask = read('{"model":"m","stream":null,"stream_options":null,"n":null,"max_tokens":null}')
  t.match(ask, { choices: 1, outputLimit: undefined, mustAskForUsage: false })
  t.end()
})

t.test('0 and -1 name no limit, whatever stands beside them', (t) => {
  for (const name of ['max_tokens', 'max_completion_tokens', 'max_output_tokens']) {
    for (const limit of ['0', '-1', '-1.0', '0e1']) {
      const body = `{"model":"m","${name}":${limit}}`
      t.equal(read(body).outputLimit, undefined, body)
    }
    const other = name === 'max_tokens' ? 'max_output_tokens' : 'max_tokens'
    t.equal(read(`{"model":"m","${other}":7,"${name}":-1}`).outputLimit, undefined, `${name} beside ${other}`)
  }
  t.end()
})

t.test('what a request may cost is read from its fields', (t) => {
  t.match(read('{"model":"m","n":3,"max_tokens":5,"max_completion_tokens":9}'), {
    choices: 3,
    outputLimit: 9,
  })
  t.match(read('{"model":"m","n":2,"best_of":5}', '/completions'), { choices: 5 })
  t.match(read('{"model":"m","n":4}', '/images/generations'), { images: 4 })
  t.match(read('{"model":"m","input":"wörld👋"}', '/audio/speech'), { characters: 6 })
  t.end()
})
