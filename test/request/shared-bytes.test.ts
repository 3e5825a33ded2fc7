import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { SharedBytes } from '../../src/request/shared-bytes.ts'

const MIB = 1024 * 1024
const KIB = 1024
const nothing = () => undefined

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
  t.ok(second.waitToBegin(20 * MIB, () => gone.push('second'), nothing))
  t.ok(third.waitToBegin(20 * MIB, () => gone.push('third'), nothing))
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

t.test('too many do not even wait, and a place goes from who has the most to who has fewer', (t) => {
  const shared = new SharedBytes(MIB)
  let gaveWay = 0
  const waits = (name: string) => shared.open(name).waitForMore(nothing, () => void gaveWay++)
  for (const name of ['a', 'b', 'c', 'd'])
    t.equal(Array.from({ length: 100 }, () => waits(name)).filter(Boolean).length, 64)
  t.notOk(waits('a'))
  t.equal(gaveWay, 0)
  t.equal(Array.from({ length: 400 }, (_, i) => waits(`${i}`)).filter(Boolean).length, 252)
  t.equal(gaveWay, 252, 'as many as came: there are never more')
  t.ok(['a', 'b', 'c', 'd'].every((name) => shared.open(name).holder.waiting === 1))
  t.end()
})

t.test('who comes next finds a place to wait, also when a few have taken all', (t) => {
  const shared = new SharedBytes(MIB)
  let gaveWay = 0
  const waits = (name: string) => shared.open(name).waitForMore(nothing, () => void gaveWay++)
  const count = (holders: number) =>
    Array.from({ length: 4000 }, (_, i) => waits(`${i % holders}`)).filter(Boolean).length
  t.equal(count(8), 256, 'eight take all places, and none from each other')
  t.equal(gaveWay, 0)
  t.ok(waits('another'))
  t.equal(gaveWay, 1, 'from who has the most')
  t.end()
})

t.test('however much others have, and wait for, a little is there for who has nothing', (t) => {
  const shared = new SharedBytes(256 * MIB)
  const others = Array.from({ length: 40 }, (_, i) => shared.open(`other ${i}`))
  for (const lease of others) while (lease.begin(MIB)) lease.take(MIB)
  for (const lease of others) for (let i = 0; i < 64; i++) lease.take(64 * KIB)
  t.ok(shared.usedBytes > 256 * MIB)
  const used = shared.usedBytes
  t.notOk(others[0]?.takeIfRoom(1000))
  t.equal(shared.usedBytes, used, 'what has no room is not counted')
  const little = Array.from({ length: 80 }, (_, i) => shared.open(`little ${i}`))
  t.equal(little.filter((lease) => lease.takeIfRoom(128 * KIB)).length, 80)
  t.ok(shared.open('little 0').begin(128 * KIB))
  t.notOk(shared.open('little 1').begin(256 * KIB), 'more is no little')
  const many = Array.from({ length: 1_000 }, (_, i) => shared.open(`one of many ${i}`))
  const taken = many.filter((lease) => lease.takeIfRoom(256 * KIB)).length
  t.ok(taken < 128, `${taken} times 256 KiB beyond: the reserve is bounded too`)
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
        else if (what === 'wait') lease?.waitToBegin(bytes, nothing, nothing)
        else lease?.waitForMore(nothing, nothing)
      }
      for (const lease of leases) lease.release()
      await setImmediate()
      t.equal(shared.usedBytes, 0)
      for (const { holder } of leases) t.same(holder, { bytes: 0, promised: 0, waiting: 0 })
    }),
    { numRuns: 200 },
  )
})
