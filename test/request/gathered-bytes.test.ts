import fc from 'fast-check'
import t from 'tap'
import { GatheredBytes, giveBack } from '../../src/request/gathered-bytes.ts'

const MIB = 1024 * 1024
const residentBytes = () => process.memoryUsage.rss()

t.test('whatever the pieces, the same bytes come out in one', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 9_000 })), fc.integer({ min: 1 }), (pieces, most) => {
      const gathered = new GatheredBytes(most)
      for (const piece of pieces) gathered.copy(Buffer.from(piece))
      t.equal(gathered.bytes, Buffer.concat(pieces).length)
      t.ok(gathered.take().equals(Buffer.concat(pieces)))
      t.equal(gathered.take().length, 0, 'nothing is left')
    }),
    { numRuns: 50 },
  )
  t.end()
})

t.test('a million pieces of one byte cost a million bytes', (t) => {
  const before = residentBytes()
  const gathered = new GatheredBytes(10 * MIB)
  const crumb = Buffer.from('x')
  for (let i = 0; i < 8 * MIB; i++) gathered.copy(crumb)
  t.ok(residentBytes() - before < 24 * MIB, `${(residentBytes() - before) / MIB} MiB`)
  t.equal(gathered.take().length, 8 * MIB)
  t.end()
})

t.test('what was only announced costs nothing', (t) => {
  const before = residentBytes()
  const all = Array.from({ length: 1_000 }, () => new GatheredBytes(10 * MIB))
  for (const one of all) one.copy(Buffer.alloc(1_000))
  t.ok(residentBytes() - before < 32 * MIB, `${(residentBytes() - before) / MIB} MiB`)
  for (const one of all) one.discard()
  t.end()
})

t.test('memory that is given back is gone at once, and a shared one is never taken from its others', (t) => {
  const alone = Buffer.allocUnsafeSlow(64 * 1024)
  giveBack(alone)
  t.equal(alone.length, 0)
  const whole = Buffer.allocUnsafeSlow(64 * 1024).fill('x')
  const part = whole.subarray(0, 32 * 1024)
  giveBack(part)
  t.equal(part.toString('latin1', 0, 3), 'xxx')
  t.end()
})
