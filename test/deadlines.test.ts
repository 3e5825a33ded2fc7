import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Deadlines } from '../src/deadlines.ts'

t.test('what is due happens once, not early, and not long after', async (test) => {
  const deadlines = new Deadlines()
  const from = performance.now()
  let count = 0
  const afterMs = await new Promise<number>((resolve) => {
    const one = deadlines.open(() => {
      count += 1
      resolve(performance.now() - from)
    })
    one.start(120)
    // The process lives on only while somebody else keeps it: here this test.
    setTimeout(resolve, 5_000, Number.POSITIVE_INFINITY).unref()
    const alive = setInterval(() => count > 0 && clearInterval(alive), 20)
  })
  test.ok(afterMs >= 120, `${afterMs} ms`)
  test.ok(afterMs < 2_000, `${afterMs} ms`)
  await sleep(200)
  test.equal(count, 1)
})

t.test(
  'one that is stopped never happens, one that begins again waits again, whatever the others do',
  async (test) => {
    const deadlines = new Deadlines()
    const happened: number[] = []
    const all = Array.from({ length: 30 }, (_, index) => deadlines.open(() => happened.push(index)))
    for (const one of all) one.start(150)
    for (const [index, one] of all.entries()) if (index % 3 === 0) one.stop()
    all[0]?.stop()
    const again = setInterval(() => {
      for (const [index, one] of all.entries()) if (index % 3 === 1) one.again()
    }, 50)
    await sleep(500)
    test.same(
      happened.toSorted((a, b) => a - b),
      [2, 5, 8, 11, 14, 17, 20, 23, 26, 29],
    )
    clearInterval(again)
    await sleep(500)
    test.equal(happened.length, 20, 'those that began again, in the end, once each')
  },
)

t.test('one may stop another in the moment in which both are due, and begin itself again', async (test) => {
  const deadlines = new Deadlines()
  const happened: string[] = []
  const pair = ['a', 'b'].map((name, index) =>
    deadlines.open(() => {
      happened.push(name)
      pair[1 - index]?.stop()
      if (happened.length === 1) pair[index]?.again()
    }),
  )
  for (const one of pair) one.start(50)
  await sleep(600)
  const [first] = happened
  test.same(happened, [first, first])
})

t.test('those that are due in the same late moment happen in their order', async (test) => {
  const deadlines = new Deadlines()
  const happened: number[] = []
  const all = Array.from({ length: 20 }, (_, index) => deadlines.open(() => happened.push(index)))
  // Started in no order, and stopped in between, so that their places say nothing.
  for (const index of [7, 3, 12, 0, 19, 5, 16, 9, 1, 14]) all[index]?.start(100 + index * 5)
  all[12]?.stop()
  const until = performance.now() + 400
  while (performance.now() < until);
  await sleep(200)
  test.same(happened, [0, 1, 3, 5, 7, 9, 14, 16, 19])
})
