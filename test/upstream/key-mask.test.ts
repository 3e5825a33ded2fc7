import fc from 'fast-check'
import t from 'tap'
import { createKeyMask, ErrorMask, maskHeaders } from '../../src/upstream/key-mask.ts'

const KEY = 'sk-proj-aXbY0123456789ZzsK-sk-proj_end'
const stars = (text: string) => '*'.repeat(text.length)

const through = (key: string, chunks: readonly string[]): { text: string; pieces: string[] } => {
  const mask = createKeyMask(key)
  const pieces = chunks.map((chunk) => mask?.pass(Buffer.from(chunk)).toString() ?? chunk)
  pieces.push(mask?.rest().toString() ?? '')
  return { text: pieces.join(''), pieces }
}

t.test('wherever a key is cut, as many asterisks stand in its place', async (test) => {
  const text = `{"error":{"message":"wrong key: ${KEY}, and again ${KEY}${KEY}"}}`
  for (let at = 0; at <= text.length; at++)
    test.equal(through(KEY, [text.slice(0, at), text.slice(at)]).text, text.replaceAll(KEY, stars(KEY)))
  test.equal(through(KEY, [...text]).text, text.replaceAll(KEY, stars(KEY)), 'byte by byte')
})

t.test('what is no key passes byte for byte, and a whole event at once', async (test) => {
  const piece = fc.oneof(
    fc.string(),
    fc.nat(KEY.length - 1).map((end) => KEY.slice(0, end)),
    fc.constant('s'),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (chunks) => {
      const text = chunks.join('')
      return through(KEY, chunks).text === text.replaceAll(KEY, stars(KEY))
    }),
  )
  const event = 'data: {"delta":"sk-proj-aXbY0"}\n\n'
  test.same(through(KEY, [event, event]).pieces, [event, event, ''])
  const bytes = Buffer.from([0, 1, 255, 0x73])
  const mask = createKeyMask(KEY)
  test.same(
    Buffer.concat([mask?.pass(bytes) ?? bytes, mask?.rest() ?? bytes]),
    Buffer.from([0, 1, 255, 0x73]),
  )
})

t.test('a key that JSON or a URL spells otherwise is found in each spelling', async (test) => {
  const key = 'sk/test+abc=def"0123456789\\x'
  const quoted = JSON.stringify(key).slice(1, -1)
  const spellings = [
    key,
    quoted,
    quoted.replaceAll('/', '\\/'),
    key.replace(/[^\w.~-]/g, (one) => `\\u00${one.charCodeAt(0).toString(16)}`),
    key.replace(/[^\w.~-]/g, (one) => `\\u00${one.charCodeAt(0).toString(16).toUpperCase()}`),
    encodeURIComponent(key),
  ]
  for (const spelling of spellings)
    test.equal(through(key, [`a ${spelling} b`]).text, `a ${stars(spelling)} b`, spelling)
})

t.test('in an error also long parts of a key are hidden; short ones say nothing', async (test) => {
  const error = (text: string, encoding?: string) => {
    const mask = createKeyMask(KEY)
    if (!mask) throw new Error('no mask')
    const whole = new ErrorMask(mask, encoding)
    return Buffer.concat([...text].map((one) => whole.pass(Buffer.from(one))).concat(whole.rest())).toString()
  }
  const [start, end] = [KEY.slice(0, 20), KEY.slice(-9)]
  test.equal(error(`key ${start}... is wrong`), `key ${stars(start)}... is wrong`)
  test.equal(error(`key ...${end}`), `key ...${stars(end)}`)
  test.equal(error('key sk-proj-****_end'), `key ${stars('sk-proj-****_end')}`)
  test.equal(error(`{"key":"${KEY}"}`), `{"key":"${stars(KEY)}"}`)
  test.equal(error('not gzip at all', 'gzip'), '', 'what cannot be read is not passed on')
  const long = `${'x'.repeat(70_000)}${KEY}${'y'.repeat(70_000)}${KEY}`
  test.equal(error(long), long.replaceAll(KEY, stars(KEY)), 'a long text is not kept in memory')
})

t.test('headers and short keys', async (test) => {
  const headers = { 'content-type': 'application/json', 'openai-model': `m for ${KEY}` }
  test.same(maskHeaders(headers, createKeyMask(KEY)), { ...headers, 'openai-model': `m for ${stars(KEY)}` })
  const clean = { 'content-type': 'application/json' }
  test.equal(maskHeaders(clean, createKeyMask(KEY)), clean)
  test.equal(createKeyMask('none'), undefined, 'a word is no key')
  test.equal(createKeyMask(undefined), undefined)
})
