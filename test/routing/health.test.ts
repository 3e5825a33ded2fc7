import t from 'tap'
import { createProviderHealth, createRetryBudget } from '../../src/routing/health.ts'

t.test('a provider rests after its fifth failure in a row, and longer each time, to half a minute', (t) => {
  const health = createProviderHealth()
  let now = 1_000_000
  for (let i = 0; i < 4; i++) {
    health.failed('p/m', now)
    t.ok(health.admit('p/m', now), `after failure ${i + 1}`)
  }
  const rests: number[] = []
  for (let i = 0; i < 8; i++) {
    health.failed('p/m', now)
    const rest = health.restsFor('p/m', now)
    rests.push(rest)
    t.notOk(health.admit('p/m', now + rest - 1))
    t.ok(health.isResting('p/m', now + rest - 1))
    now += rest
    t.ok(health.admit('p/m', now), 'probed when the rest is over')
    t.notOk(health.admit('p/m', now), 'by one request alone')
  }
  t.same(rests, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  t.end()
})

t.test('a probe that succeeds ends the rest for all, and the count begins anew', (t) => {
  const health = createProviderHealth()
  for (let i = 0; i < 5; i++) health.failed('p/m', 0)
  t.ok(health.admit('p/m', 1000))
  health.succeeded('p/m')
  t.ok(health.admit('p/m', 1000))
  for (let i = 0; i < 4; i++) health.failed('p/m', 1000)
  t.ok(health.admit('p/m', 1000))
  t.end()
})

t.test('a probe that never ended does not shut its provider out for ever', (t) => {
  const health = createProviderHealth()
  for (let i = 0; i < 5; i++) health.failed('p/m', 0)
  t.ok(health.admit('p/m', 1000))
  t.notOk(health.admit('p/m', 1999))
  t.ok(health.admit('p/m', 2000))
  t.end()
})

t.test('a provider’s own Retry-After rests it at once, but never for more than five minutes', (t) => {
  const health = createProviderHealth()
  health.failed('p/m', 0, 7000)
  t.equal(health.restsFor('p/m', 0), 7000)
  health.failed('p/m', 0, 86_400_000)
  t.equal(health.restsFor('p/m', 0), 300_000)
  t.equal(health.restsFor('p/other', 0), 0, 'its other models do not rest')
  t.end()
})

t.test('a probe is due when a rest is over', (t) => {
  const health = createProviderHealth()
  for (let i = 0; i < 5; i++) health.failed('p/m', 0)
  t.equal(health.restsFor('p/m', 0), 1000)
  t.notOk(health.isDue('p/m', 999))
  t.ok(health.isDue('p/m', 1000))
  t.notOk(health.isDue('p/other', 1000))
  t.end()
})

t.test('names without end do not fill the memory: the oldest are forgotten', (t) => {
  const health = createProviderHealth()
  for (let i = 0; i <= 10_000; i++) health.failed(`p/${i}`, 0, 1000)
  t.notOk(health.isResting('p/0', 0))
  t.ok(health.isResting('p/10000', 0))
  t.end()
})

t.test('ten retries at once, then one for every five requests', (t) => {
  const budget = createRetryBudget()
  const spend = () => Array.from({ length: 20 }, () => budget.spend()).filter(Boolean).length
  t.ok(budget.hasLeft())
  t.equal(spend(), 10)
  t.notOk(budget.hasLeft())
  for (let i = 0; i < 20; i++) budget.earn()
  t.equal(spend(), 4)
  for (let i = 0; i < 1000; i++) budget.earn()
  t.equal(spend(), 10, 'a quiet time saves no more than a burst')
  t.end()
})
