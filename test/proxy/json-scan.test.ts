import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../src/errors.ts'
import { scanMembers } from '../../src/proxy/json-scan.ts'

const scan = (text: string) => scanMembers(Buffer.from(text))
const accepts = (text: string): boolean => {
  try {
    scan(text)
    return true
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'invalid_json') return false
    throw error
  }
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

t.test('each member is found at its very bytes, duplicates and all', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.jsonValue())), (pairs) => {
      const parts = pairs.map(([key, value]) => [JSON.stringify(key), JSON.stringify(value)] as const)
      const body = Buffer.from(`{ ${parts.map(([key, value]) => `${key} : ${value}\n`).join(',')}}`)
      const found = scanMembers(body)
      return (
        found.length === pairs.length &&
        found.every(
          ({ key, start, end }, i) =>
            key === pairs[i]?.[0] && body.toString('utf8', start, end) === parts[i]?.[1],
        )
      )
    }),
  )
  t.same(
    scan('{"a":1,"a":"x"}').map(({ key }) => key),
    ['a', 'a'],
  )
})

t.test('long strings are jumped over without losing the place', async (t) => {
  for (const filling of ['x', '\\"', '\\\\', 'é', '\\\\\\"', 'x\\"']) {
    for (const times of [63, 85, 127, 128, 129, 255, 256, 257, 5000]) {
      for (const shift of ['', 'y', 'yy', 'yyy']) {
        const value = `"${shift}${filling.repeat(times)}"`
        const body = Buffer.from(`{"a":${value},"model":"m"}`)
        const [a, model] = scanMembers(body)
        if (body.toString('utf8', a?.start, a?.end) !== value || model?.key !== 'model')
          t.fail(`${filling} ${times} ${shift}`)
      }
    }
  }
})

t.test('an escaped key of any length is read or refused, never a crash', async (t) => {
  t.same(
    scan('{"mod\\u0065l":1}').map(({ key }) => key),
    ['model'],
  )
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
