import t from 'tap'
import type { Failure } from '../../src/routing/failover.ts'
import { type Asker, ProviderHealth } from '../../src/routing/health.ts'

const FAILED: Failure = { kind: 'status', status: 500, reason: '500', retryAfterMs: undefined }

/** A provider as its requests see it, at a time that the test sets. */
function open(name = 'p/m') {
  const health = new ProviderHealth()
  const scene = {
    health,
    now: 0,
    begin(token: string): Asker {
      const asker = { token, askedAt: scene.now }
      health.admit(name, asker)
      return asker
    },
    fails(asker: Asker, rest: Partial<Failure> = {}) {
      health.failed(name, asker, { failure: { ...FAILED, ...rest }, now: scene.now })
    },
    failOnce: (token: string, rest?: Partial<Failure>) => scene.fails(scene.begin(token), rest),
    answers: (token: string) => health.succeeded(name, scene.begin(token)),
    rest: (token: string) => health.restsFor(name, token, scene.now),
    /** Two tokens, turn about. */
    failTimes(times: number) {
      for (let i = 0; i < times; i++) scene.failOnce(i % 2 === 0 ? 'a' : 'b')
    },
  }
  return scene
}

t.test('a provider that failed two tokens five times rests for all, until a probe is answered', (t) => {
  const scene = open()
  scene.failTimes(4)
  t.equal(scene.rest('c'), 0)
  scene.failTimes(1)
  t.equal(scene.rest('c'), 1000)
  scene.now = 1000
  t.equal(scene.rest('c'), 0, 'a probe is due')
  const probe = scene.begin('a')
  t.equal(scene.rest('c'), 1000, 'one request alone')
  scene.health.succeeded('p/m', probe)
  t.equal(scene.rest('c'), 0)
  t.end()
})

t.test('each probe that fails doubles the rest, to half a minute, and nothing else does', (t) => {
  const scene = open()
  scene.failTimes(5)
  const rests: number[] = []
  for (let i = 0; i < 8; i++) {
    const rest = scene.rest('c')
    rests.push(rest)
    scene.now += rest / 2
    for (let n = 0; n < 20; n++) scene.failOnce(`token ${n}`)
    scene.now += rest / 2
    t.equal(scene.rest('c'), 0)
    scene.failOnce('c')
  }
  t.same(rests, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  scene.now += 30_000
  scene.answers('c')
  scene.failTimes(5)
  t.equal(scene.rest('c'), 1000, 'an answer makes the next rest a first one')
  t.end()
})

t.test('requests that fail together are one failure, however many and however late', (t) => {
  const scene = open()
  const inFlight = Array.from({ length: 50 }, (_, i) => scene.begin(`token ${i}`))
  for (const asker of inFlight) {
    scene.now += 10
    scene.fails(asker, asker.token === 'token 40' ? { retryAfterMs: 60_000 } : {})
  }
  t.equal(scene.rest('c'), 1000 - 450, 'counted from the fifth')
  const late = open()
  const slow = Array.from({ length: 10 }, (_, i) => late.begin(`token ${i}`))
  late.now = 5
  late.failTimes(5)
  late.now = 2000
  late.answers('c')
  for (const asker of slow) late.fails(asker)
  t.equal(late.rest('c'), 0, 'they had been asked before it rested')
  const ofOne = open()
  const crowd = Array.from({ length: 10 }, () => ofOne.begin('c'))
  ofOne.now = 5
  ofOne.failTimes(5)
  ofOne.now = 2000
  ofOne.answers('c')
  for (const asker of crowd) ofOne.fails(asker)
  t.equal(ofOne.rest('c'), 0, 'by one token too')
  t.end()
})

t.test('what was asked during a rest and fails after its end is not held against the provider', (t) => {
  const scene = open()
  scene.failTimes(5)
  scene.now = 500
  const hanging = Array.from({ length: 10 }, (_, i) => scene.begin(`token ${i}`))
  scene.now = 1000
  const probe = scene.begin('a')
  scene.now = 1200
  scene.answers('b')
  for (const asker of [...hanging, probe]) {
    scene.now += 50
    scene.fails(asker)
  }
  t.equal(scene.rest('c'), 0)
  t.end()
})

t.test(
  'an answer to what was asked before the rest does not end it, one to what was asked since does',
  (t) => {
    const scene = open()
    const before = scene.begin('a')
    scene.now = 5
    scene.failTimes(5)
    scene.health.succeeded('p/m', before)
    t.equal(scene.rest('c'), 1000)
    scene.now = 10
    scene.answers('a')
    t.equal(scene.rest('c'), 0)
    t.end()
  },
)

t.test('a probe that never ends does not shut its provider out for ever', (t) => {
  const scene = open()
  scene.failTimes(5)
  scene.now = 1000
  const lost = scene.begin('a')
  scene.now = 2000
  t.equal(scene.rest('c'), 0)
  scene.failOnce('b')
  t.equal(scene.rest('c'), 2000)
  scene.now = 2500
  scene.fails(lost)
  t.equal(scene.rest('c'), 1500, 'what is heard of it later is no second failure')
  t.end()
})

t.test('what one token’s requests cause moves its own requests alone', (t) => {
  const scene = open()
  for (let i = 0; i < 50; i++) scene.failOnce('a', { status: 403 })
  t.equal(scene.rest('a'), 1000)
  t.equal(scene.rest('b'), 0)
  scene.failOnce('a', { status: 429, retryAfterMs: 60_000 })
  t.equal(scene.rest('a'), 60_000)
  t.equal(scene.rest('b'), 0)
  scene.failOnce('b')
  t.equal(scene.rest('c'), 1000, 'the failures of two are the provider’s')
  t.end()
})

t.test('our own account’s failure rests the provider at once, whoever asked', (t) => {
  const scene = open()
  scene.failOnce('a', { status: 401, isAccount: true })
  t.same([scene.rest('a'), scene.rest('b')], [1000, 1000])
  scene.now = 1000
  scene.failOnce('b', { status: 401, isAccount: true })
  t.same([scene.rest('a'), scene.rest('b')], [2000, 2000])
  scene.now = 3000
  scene.answers('b')
  for (let i = 0; i < 5; i++) scene.failOnce('a', { status: 401, isAccount: true })
  t.equal(scene.rest('a'), 1000, 'not once for each token')
  t.end()
})

t.test('when everybody’s rest ends, no token is left behind with one of its own', (t) => {
  const scene = open()
  for (let i = 0; i < 5; i++) scene.failOnce('c')
  for (const restMs of [1000, 2000, 4000, 8000]) {
    scene.now += restMs
    scene.failOnce('c')
  }
  scene.failTimes(5)
  t.ok(scene.rest('c') > 10_000)
  scene.now += 1000
  scene.answers('a')
  t.same([scene.rest('a'), scene.rest('c')], [0, 0])
  scene.failOnce('c')
  t.equal(scene.rest('c'), 1000, 'most of its last answers were failures: everybody rests again')
  const forgotten = open()
  for (let i = 0; i < 5; i++) forgotten.failOnce('c', { retryAfterMs: 60_000 })
  forgotten.now = 1
  for (let i = 0; i < 10; i++) forgotten.answers('a')
  t.equal(forgotten.rest('c'), 0, 'ten answers to others show that it is well')
  forgotten.now = 2
  forgotten.failOnce('a')
  t.equal(forgotten.rest('c'), 0)
  t.end()
})

t.test('Retry-After is obeyed by whom it was said to, and by all once it was said to two', (t) => {
  const scene = open()
  scene.failOnce('a', { retryAfterMs: 7000 })
  t.same([scene.rest('a'), scene.rest('b')], [7000, 0])
  scene.failOnce('b', { retryAfterMs: 5000 })
  t.same([scene.rest('a'), scene.rest('b'), scene.rest('c')], [7000, 5000, 5000])
  scene.now = 10_000
  scene.failOnce('c', { retryAfterMs: 86_400_000 })
  t.equal(scene.rest('c'), 300_000, 'for five minutes at most')
  t.equal(scene.rest('b'), 1000, 'c was its probe')
  t.equal(scene.health.restsFor('p/other', 'c', scene.now), 0, 'its other models do not rest')
  t.end()
})

t.test('a provider that fails every second time gets less, and everything when it is well again', (t) => {
  const scene = open()
  const asked = { mixed: 0, well: 0 }
  const second = (key: 'mixed' | 'well', isFailing: (n: number) => boolean) => {
    for (let i = 0; i < 10; i++) {
      scene.now += 100
      if (scene.rest('c') > 0) continue
      asked[key] += 1
      if (isFailing(asked[key])) scene.failOnce(`token ${asked[key]}`)
      else scene.answers(`token ${asked[key]}`)
    }
  }
  for (let s = 0; s < 60; s++) second('mixed', (n) => n % 2 === 0)
  t.ok(asked.mixed < 300, `${asked.mixed} of 600`)
  t.ok(asked.mixed > 20, 'but it is asked')
  second('well', () => false)
  for (let s = 0; s < 9; s++) second('well', () => false)
  t.ok(asked.well >= 80, `${asked.well} of 100`)
  scene.failOnce('a')
  t.equal(scene.rest('c'), 0, 'nothing is held against it')
  t.end()
})

t.test('one failure in ten is no reason to rest', (t) => {
  const scene = open()
  for (let i = 0; i < 1000; i++) {
    if (i % 10 === 0) scene.failOnce(`token ${i}`)
    else scene.answers(`token ${i}`)
    t.equal(scene.rest('c'), 0)
  }
  t.end()
})

t.test('at a provider that is well retries are free; at another there are ten, and ten a second', (t) => {
  const scene = open()
  const retries = (token: string) => {
    let made = 0
    while (made < 1000 && scene.health.mayRetry('p/m', token, scene.now)) {
      scene.health.retried('p/m', token)
      made += 1
    }
    return made
  }
  t.equal(retries('a'), 1000, 'nothing is known')
  scene.failTimes(4)
  t.equal(retries('a'), 1000, 'too little to say that it is unwell')
  scene.failTimes(1)
  t.same([retries('a'), retries('b')], [10, 0], 'shared by all')
  scene.now += 300
  t.equal(retries('b'), 3)
  scene.now += 15_000
  t.equal(retries('b'), 10, 'a quiet time saves no more')
  scene.answers('c')
  t.equal(retries('c'), 0, 'it answered, but most was failures')
  for (let i = 0; i < 9; i++) scene.answers('c')
  t.equal(retries('c'), 1000)
  t.end()
})

t.test('the retries that one token’s failures use up are its own', (t) => {
  const scene = open()
  for (let i = 0; i < 9; i++) scene.failOnce('a')
  for (let i = 0; i < 10; i++) {
    t.ok(scene.health.mayRetry('p/m', 'a', scene.now))
    scene.health.retried('p/m', 'a')
  }
  t.notOk(scene.health.mayRetry('p/m', 'a', scene.now))
  t.ok(scene.health.mayRetry('p/m', 'b', scene.now))
  t.ok(scene.health.mayRetry('p/other', 'a', scene.now), 'nor do other models’')
  t.end()
})

t.test('names without end do not fill the memory: the oldest are forgotten', (t) => {
  const health = new ProviderHealth()
  const asker = { token: 'a', askedAt: 0 }
  const failure = { ...FAILED, retryAfterMs: 1000 }
  for (let i = 0; i <= 10_000; i++) health.failed(`p/${i}`, asker, { failure, now: 0 })
  t.equal(health.restsFor('p/0', 'a', 0), 0)
  t.equal(health.restsFor('p/10000', 'a', 0), 1000)
  t.end()
})
