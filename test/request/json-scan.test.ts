import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../src/errors.ts'
import { guard } from '../../src/request/guarded-fields.ts'
import { JsonScan } from '../../src/request/json-scan.ts'

const TABLE = guard({
  model: {},
  max_tokens: {},
  k: {},
  stream_options: { inner: guard({ include_usage: {} }, 'stream_options.') },
  tools: { inner: guard({ model: {} }, 'tools.') },
})
const MUTE = guard({})

const scanBytes = (body: Buffer, table = TABLE, pieceBytes = body.length) => {
  const scan = new JsonScan(table)
  for (let at = 0; at < body.length; at += pieceBytes) scan.push(body.subarray(at, at + pieceBytes))
  scan.end()
  return scan.found
}
const scan = (text: string, pieceBytes?: number) => scanBytes(Buffer.from(text), TABLE, pieceBytes)
const paths = (text: string) => scan(text).map(({ path }) => path)
const acceptsIn = (text: string, pieceBytes?: number): boolean => {
  try {
    scanBytes(Buffer.from(text), MUTE, pieceBytes)
    return true
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'invalid_json') return false
    throw error
  }
}
/** Whatever the pieces. */
const accepts = (text: string): boolean => {
  const whole = acceptsIn(text)
  for (const pieceBytes of [1, 2, 3, 7])
    if (acceptsIn(text, pieceBytes) !== whole)
      throw new Error(`in pieces of ${pieceBytes}: ${encodeURI(text)}`)
  return whole
}
const isObjectText = (text: string): boolean => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

t.test('what JSON.parse refuses is refused with invalid_json, what it accepts is accepted', async (t) => {
  const texts = [
    '{}',
    ' \t\r\n{ } \n',
    '{"a":1,"a":2}',
    '{"a":[],"b":{},"c":[{}],"d":[[1],[2,[3]]]}',
    '{"a":"\\u00e9\\n\\"\\\\\\/"}',
    '{"\\u0061":1}',
    '{"a":-0.5E+10,"b":1e400,"c":9007199254740993,"d":1.0}',
    '{"a":"\u2028\u007f"}',
    '',
    '[]',
    '"a"',
    '1',
    'null',
    '{',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,}',
    '{,"a":1}',
    '{"a":[1,]}',
    '{"a":[,1]}',
    '{"a":[1}',
    '{"a":{"b":1]}',
    '{"a" 1}',
    '{a:1}',
    "{'a':1}",
    '{"a":01}',
    '{"a":1.}',
    '{"a":.5}',
    '{"a":+1}',
    '{"a":-}',
    '{"a":1e}',
    '{"a":NaN}',
    '{"a":Infinity}',
    '{"a":True}',
    '{"a":nul}',
    '{"a":tru e}',
    '{"a":"\\x"}',
    '{"a":"\\u12"}',
    '{"a":"\\u12g4"}',
    '{"\\u12":1}',
    '{"\\q":1}',
    '{"a":"\n"}',
    '{"a\u0000":1}',
    '{"a":"b}',
    '{"a":"b\\"}',
    '{}{}',
    '{} x',
    '\ufeff{}',
    '{"a":1//\n}',
    '{"a":1\u00a0}',
  ]
  // Quoted down to ASCII: a line separator in a name would break the report in two.
  for (const text of texts) t.equal(accepts(text), isObjectText(text), encodeURI(text))
})

t.test('it accepts exactly what JSON.parse accepts, however a text is mutilated', async () => {
  const short = fc.dictionary(fc.string({ maxLength: 8, unit: 'binary' }), fc.jsonValue({ maxDepth: 4 }), {
    noNullPrototype: true,
  })
  const edit = fc.record({
    at: fc.nat(400),
    cut: fc.nat(3),
    put: fc.constantFrom(
      '',
      '"',
      '\\',
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '0',
      '-',
      'e',
      '.',
      ' ',
      '\n',
      '\u0001',
      'u',
    ),
  })
  fc.assert(
    fc.property(short, fc.option(edit), fc.boolean(), (value, change, spaced) => {
      const whole = JSON.stringify(value, undefined, spaced ? '\t' : '')
      const text = change
        ? whole.slice(0, change.at) + change.put + whole.slice(change.at + change.cut)
        : whole
      // Lone surrogates have no bytes of their own.
      const sent = Buffer.from(text).toString()
      if (/[^"]{250}/.test(sent)) return true
      return accepts(sent) === isObjectText(sent)
    }),
    { numRuns: 2000 },
  )
})

t.test('each guarded field is found at its very bytes, whatever the pieces', async (t) => {
  const value = fc.jsonValue({ maxDepth: 3 }).filter((each) => !/model/i.test(JSON.stringify(each)))
  fc.assert(
    fc.property(
      value,
      fc.string({ unit: 'grapheme' }),
      value,
      fc.integer({ min: 1, max: 40 }),
      (model, text, rest, size) => {
        const sent = JSON.stringify(model)
        const body = Buffer.from(
          `{ "x": ${JSON.stringify(text)},"model" :\t${sent}\n, "stream_options":{"a":1,"include_usage":true},` +
            `"y":{"model":[{"model":1}]},"tools":[{"model":"b"},{"x":{"model":1}},{"model":"c"}],"z":${JSON.stringify(rest)}}`,
        )
        const found = scanBytes(body, TABLE, size)
        t.same(
          found.map(({ path, start, end }) => [path, body.toString('utf8', start, end)]),
          [
            ['model', sent],
            ['stream_options.include_usage', 'true'],
            ['stream_options', '{"a":1,"include_usage":true}'],
            ['tools.model', '"b"'],
            ['tools.model', '"c"'],
            ['tools', '[{"model":"b"},{"x":{"model":1}},{"model":"c"}]'],
          ],
        )
        return found[0]?.text === sent
      },
    ),
    { numRuns: 300 },
  )
})

/** KELVIN SIGN, LONG S, dotted and dotless I, a full-width M, an invisible joiner, what cannot be decoded. */
const OTHER_SPELLINGS = [
  '"Model"',
  '"MODEL"',
  '"mo_del"',
  '"mo-del"',
  '" model"',
  '"model "',
  '"\\u004dodel"',
  '"model\\u0000x"',
  '"mo\\u200ddel"',
  '"mo\u200ddel"',
  '"\\ud800model"',
  '"\uff2dodel"',
  '"max_to\u212aens"',
  '"max_to\\u212aens"',
  '"max_token\u017f"',
  '"max_token\\u017F"',
  '"maxTokens"',
  '"MaxTokens"',
  '"max_to\\u004Bens"',
  '"K"',
  '"\u212a"',
  '"streamOptions"',
  '"\u017ftream_options"',
  '"STREAM_OPT\u0130ONS"',
  '"stream_opt\u0131ons"',
]

t.test('another spelling of a guarded field is refused, alone and beside the right one', async (t) => {
  for (const key of OTHER_SPELLINGS) {
    t.throws(() => scan(`{${key}:1}`), { code: 'invalid_json' }, encodeURI(key))
    t.throws(() => scan(`{"model":"m",${key}:1}`), { code: 'invalid_json' }, encodeURI(key))
    t.throws(() => scan(`{${key}:1,"model":"m"}`, 1), { code: 'invalid_json' }, encodeURI(key))
  }
  t.throws(() => scan('{"stream_options":{"Include_Usage":true}}'), {
    code: 'invalid_json',
    param: 'stream_options.include_usage',
  })
  t.throws(() => scan('{"tools":[{"Model":"x"}]}'), { code: 'invalid_json', param: 'tools.model' })
})

t.test('a guarded field may stand once, and is refused at its second key, not at the end', async (t) => {
  t.throws(() => scan('{"model":1,"a":2,"mod\\u0065l":3'), { code: 'invalid_json', param: 'model' })
  t.throws(() => scan('{"stream_options":{"include_usage":true,"include_usage":false'), {
    code: 'invalid_json',
  })
  t.throws(() => scan('{"tools":[{"model":1},{"model":1,"model":2'), { code: 'invalid_json' })
  const scanner = new JsonScan(TABLE)
  t.throws(() => scanner.push(Buffer.from('"model":"x",'.repeat(1000).replace('"', '{"'))), {
    code: 'invalid_json',
    param: 'model',
  })
  t.same(paths('{"model":1,"models":2,"modele":3,"a":{"model":1,"model":2,"Model":3},"b":[{"K":1}]}'), [
    'model',
  ])
})

t.test('any other name may stand twice, in any case', async (t) => {
  t.same(paths('{"a":1,"a":2,"A":3,"messages":[],"Messages":[],"x\u212a":1,"kk":1,"":1,"_":2}'), [])
})

t.test('what takes long to compare is refused before it does', async (t) => {
  const keys = (count: number) => Array.from({ length: count }, (_, i) => `"\\u00e9${i}":1`).join()
  t.same(paths(`{${keys(1000)}}`), [])
  t.throws(() => scan(`{${keys(1001)}}`), { code: 'invalid_json' })
  t.throws(() => scan(`{"${'_'.repeat(600)}model":1}`), { code: 'invalid_json' })
  t.throws(() => scan(`{"a":${'1'.repeat(600)}}`), { code: 'invalid_json' })
})

t.test('a long value is found and not kept', async (t) => {
  for (const size of [1, 1000, 10_000]) {
    const [field] = scan(`{"model":"${'x'.repeat(5000)}"}`, size)
    t.match(field, { start: 9, end: 5011, text: undefined })
    const [short] = scan(`{"model":"${'x'.repeat(2000)}"}`, size)
    t.equal(short?.text?.length, 2002)
  }
})

t.test('long strings are jumped over without losing the place', async (t) => {
  for (const filling of ['x', '\\"', '\\\\', 'é', '\\\\\\"', 'x\\"']) {
    for (const times of [63, 85, 127, 128, 129, 255, 256, 257, 5000]) {
      for (const shift of ['', 'y', 'yy', 'yyy']) {
        const value = `"${shift}${filling.repeat(times)}"`
        const body = Buffer.from(`{"max_tokens":${value},"model":"m"}`)
        for (const size of [body.length, 100, 3]) {
          const [a, model] = scanBytes(body, TABLE, size)
          if (body.toString('utf8', a?.start, a?.end) !== value || model?.path !== 'model')
            t.fail(`${filling} ${times} ${shift} ${size}`)
        }
      }
    }
  }
})

t.test('an escaped key of any length is read or refused, never a crash', async (t) => {
  t.same(paths('{"mod\\u0065l":1}'), ['model'])
  t.notOk(accepts(`{"${'k'.repeat(300)}\\q":1}`))
  t.notOk(accepts(`{"${'k'.repeat(300)}\n\\n":1}`))
})

t.test(
  'a hundred levels pass, a hundred and one do not, and a megabyte of brackets costs nothing',
  async (t) => {
    const nested = (levels: number) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
    t.ok(accepts(nested(100)))
    t.notOk(accepts(nested(101)))
    t.notOk(accepts(`{"a":${'['.repeat(1_000_000)}`))
  },
)
