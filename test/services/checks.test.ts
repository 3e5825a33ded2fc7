import { mock } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ServiceRoute, TargetCheck } from '../../src/config/catalog/service-routes.ts'
import { buildServiceTable } from '../../src/config/catalog/service-table.ts'
import { Deadlines } from '../../src/deadlines.ts'
import { Check } from '../../src/services/targets/checks.ts'
import { openTargets } from '../../src/services/targets/targets.ts'
import { get } from '../../src/upstream/get.ts'
import { openUpstreams } from '../../src/upstream/upstreams.ts'
import { startCheckedService } from '../support/checked-service.ts'
import { waitUntil } from '../support/journey.ts'
import { serviceRoute } from '../support/service-routes.ts'

const RULES: TargetCheck = { path: '/well?deep=1', everyMs: 20, timeoutMs: 150, failures: 2, successes: 2 }

/** Targets that are looked at over the gateway's own way out. */
function open(t: Pick<Test, 'teardown'>, ...routes: ServiceRoute[]) {
  const upstreams = openUpstreams({ connectTimeoutMs: 1000 }, new Deadlines())
  let table = buildServiceTable(routes)
  const targets = openTargets({
    now: () => performance.now(),
    table: () => table,
    random: Math.random,
    get: async ({ url, timeoutMs }) => (await get(upstreams, url, { timeoutMs, maxBytes: 1000 })).status,
    secret: () => 'secret',
    onFailure: () => undefined,
    onAnswer: () => undefined,
  })
  t.teardown(() => {
    targets.close()
    upstreams.close()
  })
  const all = () => targets.report().flatMap(([, each]) => each)
  return {
    targets,
    all,
    reread: (...next: ServiceRoute[]) => {
      table = buildServiceTable(next)
      targets.look()
    },
    until: (index: number, state: string) =>
      waitUntil(
        () => all()[index]?.state,
        (seen) => seen === state,
      ),
    chosen: () => targets.choose(routes[0] ?? serviceRoute([]), {})?.place.origin,
  }
}

t.test('a target whose checks fail gets no request until they succeed again', async (t) => {
  const [one, two] = await Promise.all([startCheckedService(t, 'one'), startCheckedService(t, 'two')])
  const { until, chosen, all } = open(t, serviceRoute([one.origin, two.origin], { check: RULES }))
  t.equal(all()[0]?.state, 'up', 'before it was looked at')
  for (const mood of ['failing', 'resetting', 'hanging'] as const) {
    one.mood = mood
    await until(0, 'down')
    t.equal(chosen(), two.origin, mood)
    t.match(
      all()[0]?.check?.lastReason,
      { failing: '503', resetting: 'ECONNRESET', hanging: 'ANSWER_TIMEOUT' }[mood],
    )
    one.mood = 'well'
    await until(0, 'up')
  }
  await one.stop()
  await until(0, 'down')
  t.equal(all()[0]?.check?.lastReason, 'ECONNREFUSED')
  await one.start()
  await until(0, 'up')
  t.same(new Set(one.asked), new Set([RULES.path]))
})

t.test('where all are down, they are asked all the same', async (t) => {
  const one = await startCheckedService(t, 'one')
  one.mood = 'failing'
  const { until, chosen } = open(t, serviceRoute([one.origin], { check: RULES }))
  await until(0, 'down')
  t.equal(chosen(), one.origin)
})

t.test('one failure of two says nothing', async (t) => {
  const one = await startCheckedService(t, 'one')
  const { all } = open(t, serviceRoute([one.origin], { check: { ...RULES, failures: 2 } }))
  for (let i = 0; i < 3; i++) {
    const asked = one.asked.length
    one.mood = i % 2 === 0 ? 'failing' : 'well'
    await waitUntil(
      () => one.asked.length,
      (count) => count > asked,
    )
    one.mood = 'well'
    t.equal(all()[0]?.state, 'up')
    await waitUntil(
      () => all()[0]?.check?.lastReason,
      (reason) => reason === undefined,
    )
  }
})

t.test('a service that hangs is never asked twice at once', async (t) => {
  const one = await startCheckedService(t, 'one')
  one.mood = 'hanging'
  const { until } = open(t, serviceRoute([one.origin], { check: { ...RULES, everyMs: 1, failures: 3 } }))
  await until(0, 'down')
  t.equal(one.mostAtOnce, 1)
  t.equal(one.asked.length >= 3, true)
})

t.test('a route without checks has none, and two that ask the same ask once', async (t) => {
  const [one, two] = await Promise.all([startCheckedService(t, 'one'), startCheckedService(t, 'two')])
  const check = { ...RULES, everyMs: 50 }
  open(
    t,
    serviceRoute([one.origin], { check }),
    serviceRoute([one.origin], { name: 'user', prefix: '/api/user', check: { ...check } }),
    serviceRoute([two.origin], { name: 'jobs', prefix: '/api/jobs' }),
  )
  await waitUntil(
    () => one.asked.length,
    (count) => count >= 4,
  )
  t.equal(one.mostAtOnce, 1)
  t.same(two.asked, [])
})

t.test(
  'a re-read keeps what a check has seen, and ends those that are gone, as the close ends all',
  async (t) => {
    const [one, two] = await Promise.all([startCheckedService(t, 'one'), startCheckedService(t, 'two')])
    one.mood = 'failing'
    const scene = open(t, serviceRoute([one.origin, two.origin], { check: RULES }))
    await scene.until(0, 'down')
    scene.reread(serviceRoute([one.origin], { check: { ...RULES } }))
    t.equal(scene.all()[0]?.state, 'down')
    const asked = two.asked.length
    await waitUntil(
      () => one.asked.length,
      (count) => count > 10,
    )
    t.ok(two.asked.length <= asked + 1, 'but for one that was on its way')
    scene.reread(serviceRoute([one.origin]))
    t.equal(scene.all()[0]?.state, 'up', 'nobody checks it any more')
    scene.reread(serviceRoute([one.origin], { check: RULES }))
    await scene.until(0, 'down')
    scene.targets.close()
    const last = one.asked.length
    await setTimeout(100)
    t.ok(one.asked.length <= last + 1)
  },
)

t.test('checks of a table that is read again begin before anybody asks by it', async (t) => {
  const one = await startCheckedService(t, 'one')
  const { reread } = open(t)
  reread(serviceRoute([one.origin], { check: RULES }))
  await waitUntil(
    () => one.asked.length,
    (count) => count > 0,
  )
  t.same(one.asked[0], RULES.path)
})

t.test('checks begin at once, but not all at the same moment, and their pauses differ', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const looks: string[] = []
  const begin = (name: string, random: number) =>
    new Check(
      'http://a:1',
      { ...RULES, everyMs: 10_000 },
      {
        get: async () => looks.push(name) && 200,
        now: () => 0,
        random: () => random,
        onUp: () => undefined,
      },
    )
  const checks = [begin('early', 0), begin('late', 0.99)]
  t.teardown(() => {
    for (const check of checks) check.close()
  })
  const pass = async (ms: number) => {
    mock.timers.tick(ms)
    for (let i = 0; i < 5; i++) await Promise.resolve()
    return looks.splice(0)
  }
  t.same(await pass(1), ['early'])
  t.same(await pass(988), [])
  t.same(await pass(1), ['late'])
  t.same(await pass(8_009), [])
  t.same(await pass(2), ['early'], 'a tenth earlier than every ten seconds')
  t.same(await pass(2_980), ['late'], 'nearly a tenth later')
})
