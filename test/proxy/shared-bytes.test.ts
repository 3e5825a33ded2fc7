import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { SharedBytes } from '../../src/proxy/shared-bytes.ts'

const MIB = 1024 * 1024

t.test('one alone gets half of all, and who comes next finds room', (t) => {
  const shared = new SharedBytes(256 * MIB)
  const greedy = Array.from({ length: 119 }, () => shared.open('greedy'))
  const begun = greedy.filter((lease) => lease.begin(10 * MIB))
  t.equal(begun.length, 12)
  for (const lease of begun) t.ok(lease.take(10 * MIB))
  t.equal(shared.usedBytes, 120 * MIB)
  t.ok(shared.open('modest').begin(10 * MIB))
  t.ok(shared.open('small').take(500))
  t.end()
})

t.test('what is only announced takes nothing from others', (t) => {
  const shared = new SharedBytes(100 * MIB)
  for (let i = 0; i < 50; i++) for (let k = 0; k < 5; k++) shared.open(`liar ${i}`).begin(10 * MIB)
  t.equal(shared.usedBytes, 0)
  t.ok(shared.open('honest').begin(50 * MIB))
  t.end()
})

t.test('who waits goes on in order when room is made, and never before', async (t) => {
  const shared = new SharedBytes(64 * MIB)
  const [first, second, third] = [shared.open('a'), shared.open('a'), shared.open('a')]
  t.ok(first.begin(30 * MIB) && first.take(30 * MIB))
  const gone: string[] = []
  t.notOk(second.begin(20 * MIB))
  t.ok(second.waitToBegin(20 * MIB, () => gone.push('second')))
  t.ok(third.waitToBegin(20 * MIB, () => gone.push('third')))
  await setImmediate()
  t.same(gone, [])
  first.release()
  await setImmediate()
  await setImmediate()
  t.same(gone, ['second'], 'the third would be too much beside it')
  second.release()
  await setImmediate()
  await setImmediate()
  t.same(gone, ['second', 'third'])
  third.release()
  t.equal(shared.usedBytes, 0)
})

t.test('too many do not even wait, and nobody takes all places', (t) => {
  const shared = new SharedBytes(MIB)
  const waits = (name: string) => shared.open(name).waitForMore(() => undefined)
  const count = (holders: number) =>
    Array.from({ length: 4000 }, (_, i) => waits(`${i % holders}`)).filter(Boolean).length
  t.ok(count(8) < 240, 'eight take most places')
  t.ok(waits('another'), 'and leave some to whoever comes next')
  t.end()
})

t.test('what is given back is room again, once', (t) => {
  const shared = new SharedBytes(MIB)
  const lease = shared.open('one')
  lease.take(2000)
  lease.giveBack(500)
  t.equal(shared.usedBytes, 1500)
  lease.release()
  lease.giveBack(500)
  t.equal(shared.usedBytes, 0)
  t.end()
})

t.test('whatever is done in whatever order, all is given back', async (t) => {
  const step = fc.tuple(
    fc.nat(4),
    fc.constantFrom('begin', 'take', 'settle', 'wait', 'more', 'release'),
    fc.nat(5 * MIB),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const shared = new SharedBytes(16 * MIB)
      const leases = ['a', 'a', 'b', 'b', 'c'].map((name) => shared.open(name))
      for (const [which, what, bytes] of steps) {
        const lease = leases[which]
        if (what === 'begin') lease?.begin(bytes)
        else if (what === 'take') lease?.take(bytes)
        else if (what === 'settle') lease?.settle()
        else if (what === 'release') lease?.release()
        else if (what === 'wait') lease?.waitToBegin(bytes, () => undefined)
        else lease?.waitForMore(() => undefined)
      }
      for (const lease of leases) lease.release()
      await setImmediate()
      t.equal(shared.usedBytes, 0)
      for (const { holder } of leases) t.same(holder, { bytes: 0, promised: 0, waiting: 0 })
    }),
    { numRuns: 200 },
  )
})
