import fc from 'fast-check'
import t from 'tap'
import { readFields } from '../../src/proxy/json-fields.ts'

/** Blanks behind a body make it large enough to be scanned instead of parsed, and mean nothing. */
const LARGE = ' '.repeat(3000)
const NAMES = ['model', 'stream', 'stream_options', 'n', 'a']

const key = fc.oneof(
  fc.constantFrom(...NAMES, 'mod\\u0065l', '\\u006dodel', 'm\\u00f6del', 'Model'),
  fc.string({ maxLength: 6 }).map((text) => JSON.stringify(text).slice(1, -1)),
)
const blank = fc.constantFrom('', ' ', '\n\t', '\r\n ')
const member = fc
  .tuple(blank, key, blank, blank, fc.jsonValue({ maxDepth: 3 }), blank)
  .map(
    ([before, name, left, right, value, after]) =>
      `${before}"${name}"${left}:${right}${JSON.stringify(value)}${after}`,
  )
const nested = fc.constantFrom('"x":{"model":"inner"}', '"y":"\\"model\\":\\"z\\""', '"é":"👋"')
const body = fc.array(fc.oneof(member, member, nested), { maxLength: 6 }).map((all) => `{${all.join(',')}}`)

t.test('a small body is read as a large one is: the same values in the same places', (t) => {
  const tell = (text: string) => {
    try {
      const fields = readFields(Buffer.from(text))
      return NAMES.map((name) => ({
        value: fields.value(name),
        places: fields.places(name).map(({ start, end }) => Buffer.from(text).toString('utf8', start, end)),
      }))
    } catch (error) {
      return error instanceof Error ? error.message.replace(/\d+/, 'n') : error
    }
  }
  fc.assert(
    fc.property(body, (text) => t.same(tell(text), tell(text + LARGE), text)),
    { numRuns: 1500 },
  )
  t.end()
})

t.test('a small body is refused as a large one is', (t) => {
  const deep = (levels: number) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
  const bad = [
    '[]',
    '""',
    'null',
    '{',
    '{"a":1}}',
    '{"a":01}',
    '{"__proto__":{}}',
    deep(101),
    '{"a":"\n"}',
    '',
  ]
  for (const text of bad) {
    t.throws(() => readFields(Buffer.from(text)), { code: 'invalid_json' }, text)
    t.throws(() => readFields(Buffer.from(text + LARGE)), { code: 'invalid_json' }, text)
  }
  for (const text of [deep(100), '{"a":"[[[[{{{{"}', `{"a":"${'[{'.repeat(80)}"}`]) {
    t.doesNotThrow(() => readFields(Buffer.from(text)), text)
    t.doesNotThrow(() => readFields(Buffer.from(text + LARGE)), text)
  }
  t.end()
})
