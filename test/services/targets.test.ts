import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { ServiceRoute, ServiceTable } from '../../src/config/catalog/service-routes.ts'
import { buildServiceTable } from '../../src/config/catalog/service-table.ts'
import type { Ask } from '../../src/services/targets/standing.ts'
import type { Target } from '../../src/services/targets/target.ts'
import { openTargets, type Targets } from '../../src/services/targets/targets.ts'
import { serviceRoute } from '../support/service-routes.ts'

const [A, B, C, D] = ['http://a:1', 'http://b:1', 'http://c:1', 'http://d:1'] as const
const REFUSED = { kind: 'network', reason: 'ECONNREFUSED' } as const

/** Targets as requests see them, at a time that the test sets. */
class Scene {
  now = 0
  table: ServiceTable
  readonly told: string[] = []
  readonly targets: Targets

  constructor(...routes: ServiceRoute[]) {
    this.table = buildServiceTable(routes)
    this.targets = openTargets({
      now: () => this.now,
      table: () => this.table,
      random: () => 0.5,
      get: () => Promise.reject(new Error('nobody is there')),
      secret: () => 'the key of this installation',
      onFailure: (route, reason) => this.told.push(`${route} ${reason}`),
      onAnswer: () => undefined,
    })
  }

  get route(): ServiceRoute {
    return this.table.routes[0] ?? serviceRoute([])
  }

  choose(headers = {}, tried: readonly Target[] = [], route = this.route) {
    return this.targets.choose(route, headers, tried)
  }

  origin(headers = {}, tried: readonly Target[] = []) {
    return this.choose(headers, tried)?.place.origin
  }

  find(origin: string): Target {
    const all = this.targets.report().flatMap(([, targets]) => targets)
    const found = all.find(({ place }) => place.origin === origin)
    if (found === undefined) throw new Error(`no target ${origin}`)
    return found
  }

  fail(origin: string, times: number, failure: Parameters<Target['failed']>[1] = REFUSED) {
    for (let i = 0; i < times; i++) ask(this.find(origin), (target, asked) => target.failed(asked, failure))
  }

  answer(origin: string, status = 200, times = 1) {
    for (let i = 0; i < times; i++) ask(this.find(origin), (target, asked) => target.answered(asked, status))
  }

  serve(times: number, headers = {}) {
    return Array.from({ length: times }, () => {
      const target = this.choose(headers)
      if (target) ask(target, (one, asked) => one.answered(asked, 200))
      return target?.place.origin
    })
  }
}

function open(t: Pick<Test, 'teardown'>, ...routes: ServiceRoute[]): Scene {
  const scene = new Scene(...routes)
  t.teardown(() => scene.targets.close())
  return scene
}

function ask(target: Target, end: (target: Target, ask: Ask) => void) {
  const asked = target.began()
  end(target, asked)
  target.ended(asked)
}

t.test('requests go round all targets', async (t) => {
  const scene = open(t, serviceRoute([A, B, C]))
  t.same(scene.serve(6), [A, B, C, A, B, C])
})

t.test('whoever has the fewest requests in flight is next, where the route says so', async (t) => {
  const scene = open(t, serviceRoute([A, B], { balance: 'least-in-flight' }))
  const slow = scene.find(A).began()
  t.same(scene.serve(3), [B, B, B])
  scene.find(A).ended(slow)
  t.equal(scene.origin(), A, 'of two that are alike, who was not asked for longest')
})

t.test('three failures in a row, and nothing else, make a target rest', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  scene.fail(A, 2)
  scene.answer(A)
  scene.fail(A, 2)
  t.equal(scene.find(A).state, 'up')
  scene.fail(A, 1)
  t.equal(scene.find(A).state, 'resting')
  t.same(scene.serve(3), [B, B, B])
  t.equal(scene.told.length, 5)
  t.match(scene.told, ['users ECONNREFUSED'])
})

t.test('what a client does, and what this machine could not send, makes no target rest', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  for (let i = 0; i < 20; i++) ask(scene.find(A), () => undefined)
  scene.fail(A, 20, { kind: 'own', reason: 'EMFILE' })
  for (const status of [400, 401, 404, 408, 413, 429, 499, 500, 501, 505]) scene.answer(A, status, 20)
  t.equal(scene.find(A).state, 'up')
  t.equal(scene.find(A).inFlight, 0)
})

t.test('502, 503 and 504 five times in a row make it rest, and are counted as failures', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  for (const status of [502, 503, 504, 503]) scene.answer(A, status)
  t.equal(scene.find(A).state, 'up')
  scene.answer(A, 502)
  t.equal(scene.find(A).state, 'resting')
  t.same(scene.told, ['users 502', 'users 503', 'users 504', 'users 503', 'users 502'])
})

t.test('rests grow to half a minute, each ends with one probe, and an answer ends them all', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  scene.fail(A, 3)
  const rests: number[] = []
  for (let i = 0; i < 7; i++) {
    const restMs = scene.find(A).standing.backAtMs - scene.now
    rests.push(restMs)
    scene.now += restMs - 1
    t.same(scene.serve(2), [B, B])
    scene.now += 1
    const probe = scene.choose()
    t.equal(probe?.place.origin, A, 'its turn has come')
    const asked = probe?.began() ?? 0
    t.same(scene.serve(3), [B, B, B], 'one request alone')
    probe?.failed(asked, REFUSED)
    probe?.ended(asked)
  }
  t.same(rests, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  scene.now += 30_000
  t.same(scene.serve(4), [A, B, A, B])
  t.equal(scene.find(A).state, 'up')
})

t.test('a probe whose client leaves says nothing: the next request is one', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  scene.fail(A, 3)
  scene.now = 1000
  const asked = scene.find(A).began()
  t.same(scene.serve(2), [B, B])
  scene.find(A).ended(asked)
  t.equal(scene.origin(), A)
})

t.test('a probe that takes long, such as a slow upload, keeps its target from nobody', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  scene.fail(A, 3)
  scene.now = 1000
  const target = scene.find(A)
  const upload = target.began()
  scene.now = 10_999
  t.same(scene.serve(3), [B, B, B])
  scene.now = 11_000
  t.equal(scene.origin(), A, 'another request is a probe')
  const next = target.began()
  t.same(scene.serve(3), [B, B, B], 'one alone')
  target.failed(upload, REFUSED)
  target.ended(upload)
  t.equal(target.standing.backAtMs, 1000, 'the first of them says nothing any more')
  target.answered(next, 200)
  t.equal(target.state, 'up')
})

t.test('what one client brings about makes nobody rest who answers others', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  const target = scene.find(A)
  const late = Array.from({ length: 10 }, () => target.began())
  scene.now = 30_000
  scene.answer(A)
  for (const one of late) target.failed(one, { kind: 'timeout', reason: 'FIRST_BYTE_TIMEOUT' })
  for (const reason of ['ECONNRESET', 'CLOSED_EARLY', 'FIRST_BYTE_TIMEOUT'])
    scene.fail(A, 5, { kind: 'network', reason })
  scene.answer(A, 503, 20)
  scene.now += 5_000
  for (const one of late) target.failed(one, { kind: 'timeout', reason: 'FIRST_BYTE_TIMEOUT' })
  t.equal(target.state, 'up')
  scene.answer(A, 503, 5)
  t.equal(target.state, 'resting', 'nobody had a good answer for a second')
})

t.test('who cannot be dialed rests at once, whatever was a moment ago', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  scene.answer(A)
  scene.fail(A, 3)
  t.equal(scene.find(A).state, 'resting')
})

t.test('what nobody has asked for a minute after its rest counts as up again', async (t) => {
  const scene = open(t, serviceRoute([A]))
  scene.now = 10
  scene.fail(A, 3)
  const target = scene.find(A)
  t.match(target, { state: 'resting', sinceMs: 10 })
  scene.now = 1010
  const probe = target.began()
  scene.now = 1010 + 60_000
  t.match(target, { state: 'resting', sinceMs: 10 }, 'its probe runs')
  target.ended(probe)
  t.match(target, { state: 'up', sinceMs: 1010 + 60_000 })
})

t.test('requests that fail together are one failure, also those that end after the rest', async (t) => {
  const scene = open(t, serviceRoute([A, B]))
  const target = scene.find(A)
  const asks = Array.from({ length: 10 }, () => target.began())
  for (const one of asks.slice(0, 6)) target.failed(one, REFUSED)
  t.equal(target.standing.backAtMs, 1000)
  scene.now = 1000
  scene.answer(A)
  for (const one of asks.slice(6)) target.failed(one, REFUSED)
  t.equal(target.state, 'up')
})

t.test('where none is well, the one that is back first is asked all the same, then the others', async (t) => {
  const scene = open(t, serviceRoute([A, B, C]))
  for (const [index, origin] of [B, A, C].entries()) {
    scene.now = index * 10
    scene.fail(origin, 3)
  }
  const tried: Target[] = []
  for (const origin of [B, A, C]) {
    const target = scene.choose({}, tried)
    t.equal(target?.place.origin, origin)
    if (target) tried.push(target)
  }
  t.equal(scene.choose({}, tried), undefined)
})

t.test('one target with no other is asked, however unwell it is', async (t) => {
  const scene = open(t, serviceRoute([A]))
  scene.fail(A, 50)
  t.equal(scene.origin(), A)
  t.equal(scene.choose({}, [scene.find(A)]), undefined)
})

t.test('a request that failed elsewhere is no probe while another target is well', async (t) => {
  const scene = open(t, serviceRoute([A, B, C]))
  scene.fail(A, 3)
  t.same(scene.serve(3), [B, C, B], 'A is next')
  scene.now = 1000
  t.equal(scene.origin({}, [scene.find(B)]), C)
  t.equal(scene.origin({}, [scene.find(B), scene.find(C)]), A)
})

t.test('a table that is read again keeps what is known of a target, and forgets what is gone', async (t) => {
  const scene = open(t, serviceRoute([A, B]), serviceRoute([B], { name: 'jobs', prefix: '/api/jobs' }))
  scene.fail(A, 3)
  scene.fail(B, 3)
  const running = scene.find(B).began()
  const old = scene.table.routes[0]
  scene.table = buildServiceTable([serviceRoute([B, C])])
  t.equal(scene.find(B).state, 'resting')
  t.equal(scene.find(B).inFlight, 1)
  t.equal(scene.origin({}, [scene.find(B)]), C)
  t.equal(scene.choose({}, [], old)?.place.origin, A, 'a request that runs still has its own targets')
  scene.find(B).ended(running)
  scene.table = buildServiceTable([serviceRoute([A, B])])
  t.equal(scene.find(A).state, 'up')
  t.equal(scene.find(B).state, 'resting')
})

t.test('two routes that lead to one target know of it together', async (t) => {
  const scene = open(t, serviceRoute([A, B]), serviceRoute([A, B], { name: 'user', prefix: '/api/user' }))
  scene.fail(A, 3)
  t.equal(scene.choose({}, [], scene.table.routes[1])?.place.origin, B)
})

type Step = { kind: 'begin' | 'answer' | 'fault' | 'fail' | 'leave' | 'wait'; pick: number }

const steps = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom('begin', 'begin', 'begin', 'answer', 'fault', 'fail', 'fail', 'leave', 'wait'),
    pick: fc.nat(10_000),
  }),
  { maxLength: 200 },
)

t.test('whatever happens: no second probe, and a well target before one that rests', async () => {
  const property = fc.property(steps, fc.constantFrom('round-robin', 'least-in-flight'), (all, balance) => {
    const scene = new Scene(serviceRoute([A, B, C, D], { balance }))
    const running: { target: Target; ask: Ask; inRest: boolean }[] = []
    const take = (pick: number) => running.splice(pick % Math.max(1, running.length), 1)[0]
    for (const { kind, pick } of all) {
      if (kind === 'wait') scene.now += pick
      else if (kind === 'begin') {
        const everyone = scene.targets.report()[0]?.[1] ?? []
        const isOneWell = everyone.some(({ standing }) => !standing.isResting)
        const target = scene.choose()
        if (!target) throw new Error('nobody was chosen')
        const inRest = target.standing.isResting
        if (isOneWell && inRest) {
          if (scene.now < target.standing.backAtMs) throw new Error('one that rests was asked')
          if (
            running.some((one) => one.target === target && one.inRest && one.ask >= target.standing.backAtMs)
          )
            throw new Error('two probes')
        }
        running.push({ target, ask: target.began(), inRest })
      } else {
        const one = take(pick)
        if (!one) continue
        // D never fails: there is always a well one.
        const isD = one.target.place.origin === D
        if (kind === 'answer' || (isD && kind !== 'leave')) one.target.answered(one.ask, 200)
        else if (kind === 'fault') one.target.answered(one.ask, 503)
        else if (kind === 'fail') one.target.failed(one.ask, REFUSED)
        one.target.ended(one.ask)
      }
    }
    for (const { target, ask } of running) target.ended(ask)
    scene.targets.close()
    return scene.targets
      .report()
      .every(([, each]) => each.every(({ inFlight, standing }) => inFlight + standing.inFlight === 0))
  })
  fc.assert(property, { numRuns: 300 })
})

t.test('the well ones share all requests to within one each, whoever rests meanwhile', async () => {
  const property = fc.property(fc.array(fc.constantFrom(0, 1, 2, 3), { maxLength: 60 }), (fails) => {
    const scene = new Scene(serviceRoute([A, B, C, D]))
    scene.serve(fails.length)
    scene.fail(A, 3)
    for (const index of fails) scene.fail([B, C, D][index] ?? A, index === 3 ? 3 : 0)
    const counts = Map.groupBy(scene.serve(31), (origin) => origin)
    const shares = [B, C, D].map((origin) => counts.get(origin)?.length ?? 0)
    scene.targets.close()
    return !counts.has(A) && Math.max(...shares) - Math.min(...shares) <= 1
  })
  fc.assert(property, { numRuns: 100 })
})

const byHeader = { sticky: { in: 'header', name: 'x-session' } } as const

t.test(
  'a header keeps its target; one that goes moves its own alone, and the order says nothing',
  async () => {
    const many = Array.from({ length: 7 }, (_, index) => `http://t${index}:80`)
    const property = fc.property(fc.string({ minLength: 1 }), fc.nat(6), (value, gone) => {
      const scene = new Scene(serviceRoute(many, byHeader))
      const headers = { 'x-session': value }
      const before = scene.origin(headers)
      scene.serve(3)
      scene.table = buildServiceTable([serviceRoute(many.toReversed(), byHeader)])
      const turned = scene.origin(headers)
      const rest = many.filter((_, index) => index !== gone)
      scene.table = buildServiceTable([serviceRoute(rest, byHeader)])
      const after = scene.origin(headers)
      scene.targets.close()
      return before === turned && (before === many[gone] ? after !== before : after === before)
    })
    fc.assert(property, { numRuns: 100 })
  },
)

t.test('values of a header spread over all targets, and stay away from one that rests', async (t) => {
  const scene = open(t, serviceRoute([A, B, C, D], byHeader))
  const origins = () => Array.from({ length: 2000 }, (_, index) => scene.origin({ 'x-session': `s${index}` }))
  const before = origins()
  for (const origin of [A, B, C, D]) {
    const share = before.filter((one) => one === origin).length
    t.ok(share > 400 && share < 600, `${origin} has ${share} of 2000`)
  }
  scene.fail(B, 3)
  const after = origins()
  t.ok(after.every((origin, index) => (before[index] === B ? origin !== B : origin === before[index])))
  t.same(scene.serve(4), [A, C, D, A], 'without the header requests go round')
})

const byCookie = { sticky: { in: 'cookie', name: 'sid' } } as const
const PLAIN = { isSecure: false, headers: {} }

t.test('a cookie of the gateway keeps a client with the target that answered', async (t) => {
  const scene = open(t, serviceRoute([A, B, C], byCookie))
  const { route } = scene
  const line = scene.targets.stickyCookie(route, scene.find(B), PLAIN) ?? ''
  const [, value = ''] =
    /^gateway-sid=([\w-]{16}); Path=\/api\/users; HttpOnly; SameSite=Lax$/.exec(line) ?? []
  t.ok(value, line)
  const headers = { cookie: `theme=dark; gateway-sid=${value}; sid=of-the-service` }
  t.same(scene.serve(3, headers), [B, B, B])
  t.equal(scene.targets.stickyCookie(route, scene.find(B), { headers, isSecure: false }), undefined)
  scene.fail(B, 3)
  const moved = scene.choose(headers)
  t.not(moved?.place.origin, B)
  t.match(
    moved && scene.targets.stickyCookie(route, moved, { headers, isSecure: true }),
    /; Secure; SameSite=Lax$/,
  )
})

t.test('its value is the same on each replica, in any order, and with another key another', async (t) => {
  const tagOf = (scene: Scene) => scene.find(B).tag
  const first = open(t, serviceRoute([A, B], byCookie))
  const second = open(t, serviceRoute([C, B, D], byCookie))
  t.equal(tagOf(first), tagOf(second))
  t.notMatch(tagOf(first), /b:1/)
  const other = openTargets({
    now: () => 0,
    table: () => first.table,
    random: () => 0.5,
    get: () => Promise.reject(new Error('nobody is there')),
    secret: () => undefined,
    onFailure: () => undefined,
    onAnswer: () => undefined,
  })
  t.teardown(() => other.close())
  t.not(other.report()[0]?.[1][1]?.tag, tagOf(first))
})

t.test(
  'a client with the cookie of the service alone is kept by its value; a made-up tag says nothing',
  async (t) => {
    const scene = open(t, serviceRoute([A, B, C], byCookie))
    const headers = { cookie: 'sid=abc' }
    t.equal(new Set(scene.serve(6, headers)).size, 1)
    t.same(new Set(scene.serve(6, { cookie: 'gateway-sid=AAAAAAAAAAAAAAAA' })), new Set([A, B, C]))
  },
)

t.test(
  'a page of another site that may come with credentials gets a cookie that browsers send there',
  async (t) => {
    const cors = { origins: ['https://app.example.com'], credentials: true }
    const scene = open(t, serviceRoute([A, B], { ...byCookie, cors }))
    const { route } = scene
    const secure = scene.targets.stickyCookie(route, scene.find(A), { headers: {}, isSecure: true })
    t.match(secure, /; HttpOnly; Secure; SameSite=None; Partitioned$/)
    t.match(scene.targets.stickyCookie(route, scene.find(A), PLAIN), /; SameSite=Lax$/)
    t.equal(scene.targets.stickyCookie(serviceRoute([A]), scene.find(A), PLAIN), undefined)
  },
)
