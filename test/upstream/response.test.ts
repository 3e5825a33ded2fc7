import t from 'tap'
import { readResponseHead } from '../../src/upstream/heads.ts'

const read = (...lines: string[]) => readResponseHead(lines.join('\r\n'), 4000)
const BAD = { code: 'BAD_ANSWER' }

t.test('status, fields and framing are read as RFC 9112 has them', (t) => {
  t.same(
    read(
      'HTTP/1.1 200 OK',
      'Content-Type: application/json',
      'Content-Language:de',
      'content-language: \tfr\t ',
      'x-content-type: text/x-other',
      'Content-Length: 12',
      'x-of-nobody: content-type: text/plain',
    ),
    {
      status: 200,
      headers: { 'content-type': 'application/json', 'content-language': 'de, fr', 'content-length': '12' },
      framing: { length: 12 },
      keepMs: 4000,
    },
  )
  t.match(read('HTTP/1.1 200', 'transfer-encoding: Chunked'), { framing: 'chunked', keepMs: 4000 })
  t.match(read('HTTP/1.1 500 Größe'), { status: 500, framing: 'close', keepMs: 0 })
  t.match(read('HTTP/1.1 204 No Content', 'content-length: 5'), { framing: { length: 0 } })
  t.match(read('HTTP/1.1 304 Not Modified', 'transfer-encoding: chunked'), { framing: { length: 0 } })
  t.end()
})

t.test('a connection is kept as long as its provider wants, and never for more', (t) => {
  const keep = (...fields: string[]) => read('HTTP/1.1 200 OK', 'content-length: 0', ...fields).keepMs
  t.equal(keep(), 4000)
  t.equal(keep('connection: keep-alive', 'keep-alive: timeout=3, max=100'), 2000)
  t.equal(keep('keep-alive: timeout=1'), 0)
  t.equal(keep('keep-alive: timeout=600'), 4000)
  t.equal(keep('connection: Close'), 0)
  t.equal(keep('connection: upgrade, close'), 0)
  t.equal(read('HTTP/1.0 200 OK', 'content-length: 0').keepMs, 0)
  t.end()
})

t.test('what two readers could read differently is refused', (t) => {
  const heads = [
    ['HTTP/1.1 200 OK', 'content-length: 5', 'transfer-encoding: chunked'],
    ['HTTP/1.1 200 OK', 'content-length: 5', 'content-length: 6'],
    ['HTTP/1.1 200 OK', 'content-length: 5, 5'],
    ['HTTP/1.1 200 OK', 'content-length: +5'],
    ['HTTP/1.1 200 OK', 'content-length: 0x5'],
    ['HTTP/1.1 200 OK', 'transfer-encoding: gzip, chunked'],
    ['HTTP/1.1 200 OK', 'x-folded: a', ' b'],
    ['HTTP/1.1 200 OK', 'no colon'],
    ['HTTP/1.1 200 OK', 'space before : x'],
    ['HTTP/1.1 200 OK', ': no name'],
    ['HTTP/1.1 200 OK', 'x-bare: a\rb'],
    ['HTTP/1.1 200 OK', 'x-bare: a\nb'],
    ['HTTP/1.1 200 OK', 'x-nul: a\0b'],
    ['HTTP/2 200'],
    ['HTTP/1.1 99 Low'],
    ['HTTP/1.1 2000 High'],
    ['200 OK'],
    [''],
  ]
  for (const head of heads) t.throws(() => read(...head), BAD, JSON.stringify(head))
  t.end()
})

t.test('a hostile name changes nothing but its own field', (t) => {
  const { headers } = read('HTTP/1.1 200 OK', '__proto__: x', 'constructor: y', 'set-cookie: a=1')
  t.equal(Object.getPrototypeOf(headers), Object.prototype)
  t.same(headers, {})
  t.end()
})

t.test('a head of many fields is read in no time', (t) => {
  const lines = Array.from({ length: 1000 }, (_, i) => `x-${i}: ${' '.repeat(8)}v`)
  t.same(read('HTTP/1.1 200 OK', ...lines, 'retry-after: 1').headers, { 'retry-after': '1' })
  t.throws(() => read('HTTP/1.1 200 OK', ...lines, 'bad\0'), BAD)
  t.end()
})
