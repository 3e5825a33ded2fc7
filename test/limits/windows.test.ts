import t from 'tap'
import { Days, Windows } from '../../src/limits/windows.ts'

const HOUR = 3_600_000
const MIDNIGHT = Date.UTC(2027, 0, 2)

t.test('a window whose end lies further ahead than it is long begins anew', (t) => {
  let now = 10_000_000
  const windows = new Windows(() => now)
  t.strictSame(windows.count('a', 60_000), { current: 1, ttl: 60_000 })
  now += 14_000
  t.strictSame(windows.count('a', 60_000), { current: 2, ttl: 46_000 })
  now -= 2 * HOUR
  t.strictSame(windows.count('a', 60_000), { current: 1, ttl: 60_000 })
  now += 60_000
  t.strictSame(windows.count('a', 60_000), { current: 1, ttl: 60_000 })
  t.end()
})

/** Days by two clocks, of which one can be set. */
const openDays = (wall: number) => {
  const clocks = { wall, elapsed: 5_000 }
  const days = new Days({ wallMs: () => clocks.wall, monotonicMs: () => clocks.elapsed })
  return {
    count: () => days.count('a'),
    pass: (ms: number) => {
      clocks.wall += ms
      clocks.elapsed += ms
    },
    step: (ms: number) => {
      clocks.wall += ms
    },
  }
}

t.test('a day that began is not longer for a clock that is set back', (t) => {
  const day = openDays(MIDNIGHT - 646_000)
  t.strictSame(day.count(), { current: 1, ttl: 646_000 })
  day.step(-2 * HOUR)
  t.strictSame(day.count(), { current: 2, ttl: 646_000 })
  day.pass(646_000 + 60_000)
  t.strictSame(day.count(), { current: 1, ttl: 2 * HOUR - 60_000 }, 'then a new one, until midnight')
  t.end()
})

t.test('set back over midnight, the count goes on until midnight and no longer', (t) => {
  const day = openDays(MIDNIGHT + HOUR)
  day.count()
  day.step(-2 * HOUR)
  t.strictSame(day.count(), { current: 2, ttl: HOUR })
  day.pass(HOUR)
  t.equal(day.count().ttl, 60_000, 'clocks may differ by a little')
  day.pass(60_000)
  t.strictSame(day.count(), { current: 1, ttl: 24 * HOUR - 60_000 })
  t.end()
})

t.test('set forward, the day ends at the midnight that has come nearer', (t) => {
  const day = openDays(MIDNIGHT - 12 * HOUR)
  day.count()
  day.step(10 * HOUR)
  t.strictSame(day.count(), { current: 2, ttl: 2 * HOUR })
  day.step(3 * HOUR)
  t.strictSame(day.count(), { current: 1, ttl: 23 * HOUR }, 'beyond it another day has begun')
  day.step(-365 * 24 * HOUR)
  t.ok(day.count().ttl <= 24 * HOUR, 'and no wait is longer than a day')
  t.end()
})

t.test('two clocks that drift apart are no second day', (t) => {
  const day = openDays(MIDNIGHT - HOUR)
  day.count()
  day.pass(HOUR - 1_000)
  day.step(-500)
  day.pass(1_000)
  t.strictSame(day.count(), { current: 2, ttl: 500 }, 'still before midnight')
  day.pass(500)
  t.strictSame(day.count(), { current: 1, ttl: 24 * HOUR })
  t.end()
})

t.test('what was counted of today before is there, and nothing of another day', (t) => {
  const clocks = { wall: MIDNIGHT + HOUR, elapsed: 5_000 }
  const today = MIDNIGHT / (24 * HOUR)
  const stored = new Map([[today, new Map([['a', 7]])]])
  let isThere = false
  const kept = {
    read: (day: number) => stored.get(day) ?? new Map<string, number>(),
    write: (day: number, counts: ReadonlyMap<string, number>) => stored.set(day, new Map(counts)).size > 0,
  }
  const days = new Days({ wallMs: () => clocks.wall, monotonicMs: () => clocks.elapsed }, () =>
    isThere ? kept : undefined,
  )
  t.equal(days.count('a').current, 1, 'nobody has it yet')
  isThere = true
  t.strictSame(days.count('a'), { current: 9, ttl: 23 * HOUR }, 'it is added')
  t.equal(days.count('b').current, 1)
  days.keep()
  t.strictSame(Object.fromEntries(stored.get(today) ?? []), { a: 9, b: 1 })
  clocks.wall += 24 * HOUR
  clocks.elapsed += 24 * HOUR
  t.equal(days.count('a').current, 1)
  days.keep()
  t.strictSame(Object.fromEntries(stored.get(today + 1) ?? []), { a: 1 })
  t.end()
})
