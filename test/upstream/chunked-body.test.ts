import fc from 'fast-check'
import t from 'tap'
import { createBodyReader } from '../../src/upstream/call.ts'

/** Cuts `bytes` at these places, however wild. */
const cut = (bytes: Buffer, places: readonly number[]): Buffer[] => {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((from, i) => Buffer.from(bytes.subarray(from, at[i] ?? bytes.length)))
}

const readAll = (framing: Parameters<typeof createBodyReader>[0], pieces: readonly Buffer[]) => {
  const reader = createBodyReader(framing)
  const payload = Buffer.concat(pieces.map((piece) => Buffer.from(reader.read(piece))))
  return { payload, isComplete: reader.isComplete(), hasSurplus: reader.hasSurplus() }
}

const chunked = (chunks: readonly Uint8Array[], extension = '', trailer = '') =>
  Buffer.concat([
    ...chunks.flatMap((chunk) => [
      Buffer.from(`${chunk.length.toString(16)}${extension}\r\n`),
      chunk,
      Buffer.from('\r\n'),
    ]),
    Buffer.from(`0\r\n${trailer}\r\n`),
  ])

const someChunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 20 })
const somePlaces = fc.array(fc.nat(), { maxLength: 30 })

t.test('chunks are taken off wherever the bytes are cut', (t) => {
  fc.assert(
    fc.property(
      someChunks,
      somePlaces,
      fc.constantFrom('', ';a=b', ';x="y z"'),
      fc.constantFrom('', 'x-sum: 1\r\n', 'a: b\r\nc: d\r\n'),
      (chunks, places, extension, trailer) => {
        const { payload, isComplete, hasSurplus } = readAll(
          'chunked',
          cut(chunked(chunks, extension, trailer), places),
        )
        t.ok(payload.equals(Buffer.concat(chunks)) && isComplete && !hasSurplus)
      },
    ),
    { numRuns: 300 },
  )
  t.end()
})

t.test('what is cut short is not complete, and what follows the end is told', (t) => {
  fc.assert(
    fc.property(someChunks, somePlaces, fc.nat(), (chunks, places, end) => {
      const whole = chunked(chunks)
      t.notOk(readAll('chunked', cut(whole.subarray(0, end % whole.length), places)).isComplete)
      const more = readAll('chunked', cut(Buffer.concat([whole, Buffer.from('HTTP/1.1 200 OK')]), places))
      t.ok(more.isComplete && more.hasSurplus && more.payload.equals(Buffer.concat(chunks)))
    }),
    { numRuns: 200 },
  )
  t.end()
})

t.test('malformed chunks are refused, byte by byte or at once', (t) => {
  const bad = [
    'ZZ\r\nab\r\n0\r\n\r\n',
    '\r\nab\r\n',
    '2\nab\r\n0\r\n\r\n',
    '2 \r\nab\r\n0\r\n\r\n',
    '-2\r\nab\r\n',
    '0x2\r\nab\r\n',
    '2\r\nabc\r\n0\r\n\r\n',
    '2\r\nab\n0\r\n\r\n',
    '1111111111111\r\n',
    `2;${'x'.repeat(2000)}\r\nab\r\n`,
    '2;a\nb\r\nab\r\n',
    `0\r\n${'x'.repeat(20_000)}: y\r\n\r\n`,
    '0\r\n\rX',
  ]
  for (const text of bad) {
    t.throws(() => readAll('chunked', [Buffer.from(text)]), { code: 'BAD_ANSWER' }, text.slice(0, 20))
    t.throws(
      () =>
        readAll(
          'chunked',
          [...Buffer.from(text)].map((byte) => Buffer.of(byte)),
        ),
      { code: 'BAD_ANSWER' },
    )
  }
  t.end()
})

t.test('a length and a connection’s end are taken at their word', (t) => {
  t.match(readAll({ length: 3 }, [Buffer.from('ab'), Buffer.from('cd')]), {
    isComplete: true,
    hasSurplus: true,
  })
  t.equal(String(readAll({ length: 3 }, [Buffer.from('ab'), Buffer.from('cd')]).payload), 'abc')
  t.match(readAll({ length: 3 }, [Buffer.from('ab')]), { isComplete: false })
  t.match(readAll({ length: 0 }, []), { isComplete: true, hasSurplus: false })
  t.match(readAll('close', [Buffer.from('ab')]), { isComplete: false, hasSurplus: false })
  t.end()
})
