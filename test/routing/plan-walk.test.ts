import t from 'tap'
import type { Model, Provider } from '../../src/config/catalog/catalog.ts'
import { openaiChat } from '../../src/dialects/openai-chat.ts'
import { ProviderAddresses } from '../../src/routing/addresses.ts'
import type { Failure } from '../../src/routing/failover.ts'
import { ProviderHealth } from '../../src/routing/health.ts'
import { PlanWalk, type Step } from '../../src/routing/plan.ts'

const stepOf = (name: string): Step => ({
  provider: { name } as Provider,
  upstreamModel: 'm',
  model: { name: 'm' } as Model,
  dialect: openaiChat,
  key: `${name}/m`,
})
const failed = (status: number, retryAfterMs?: number): Failure => ({
  kind: 'status',
  status,
  reason: String(status),
  retryAfterMs,
})
type Answer = Failure | 'well'

/** A plan of these providers, a clock that the test sets, and requests that go all the way. */
function open(...names: string[]) {
  const told: string[] = []
  const answers: Record<string, Answer> = {}
  const scene = {
    now: 0,
    told,
    answers,
    shared: {
      health: new ProviderHealth(),
      missingModels: new ProviderHealth(),
      addresses: new ProviderAddresses(),
      now: () => scene.now,
      providerFailed: (provider: string) => void told.push(provider),
    },
    walk: (token: string, endpoint = '/chat/completions') =>
      new PlanWalk({ steps: names.map(stepOf), endpoint, token }, scene.shared),
    /** The providers that were asked, and the error's status at the end, if it came to one. */
    send(token: string, endpoint?: string) {
      const walk = scene.walk(token, endpoint)
      const asked: string[] = []
      for (;;) {
        const step = walk.next()
        if (!step) return [...asked, walk.verdict('m').statusCode]
        walk.asking(step)
        asked.push(step.provider.name)
        const answer = scene.answers[step.provider.name] ?? 'well'
        if (answer !== 'well') walk.note(step, answer)
        else {
          walk.succeeded(step)
          return asked
        }
      }
    },
    sendTimes(times: number, endpoint?: string) {
      for (let i = 0; i < times; i++) scene.send(`token ${i}`, endpoint)
    },
  }
  return scene
}

t.test('a provider that rests is passed over while another is well', (t) => {
  const scene = open('one', 'two')
  scene.answers.one = failed(500)
  t.same(scene.send('a'), ['one', 'two'])
  scene.sendTimes(4)
  t.same(scene.send('a'), ['two'])
  scene.now = 1000
  t.same(scene.send('a'), ['one', 'two'], 'its probe')
  scene.now = 3000
  scene.answers.one = 'well'
  t.same(scene.send('a'), ['one'])
  t.end()
})

t.test('nobody rests alone: where nobody is well, the one whose rest ends first is asked first', (t) => {
  const scene = open('one', 'two')
  scene.answers = { one: failed(500), two: failed(500) }
  scene.sendTimes(5)
  scene.now = 300
  scene.answers.one = 'well'
  scene.send('a')
  scene.answers.one = failed(500)
  t.same(scene.send('a'), ['one', 'two', 502])
  t.same(scene.send('a'), ['two', 'one', 502], 'both rest, the second for less')
  scene.answers.one = 'well'
  t.same(scene.send('a'), ['two', 'one'], 'whoever is left is asked, however it rests')
  t.same(scene.send('a'), ['one'], 'and is well again')
  t.end()
})

t.test('a provider that rests is asked when the one that was thought well fails', (t) => {
  const scene = open('one', 'two')
  scene.answers.one = failed(500)
  scene.sendTimes(5)
  scene.answers = { two: failed(500) }
  t.same(scene.send('a'), ['two', 'one'])
  t.end()
})

t.test('no request fails while the second is well, though the first fails every second time', (t) => {
  const scene = open('one', 'two')
  let firsts = 0
  for (let i = 0; i < 400; i++) {
    scene.now += 10
    scene.answers.one = i % 2 === 0 ? failed(500) : 'well'
    const asked = scene.send(`token ${i % 7}`)
    if (asked[0] === 'one') firsts += 1
    t.ok(['one', 'two'].includes(String(asked.at(-1))))
  }
  t.ok(firsts < 200, `asked ${firsts} times`)
  t.end()
})

t.test('in a storm retries are ten a second, and each request is still asked once', (t) => {
  const scene = open('one', 'two')
  scene.answers = { one: failed(500), two: failed(500) }
  let attempts = 0
  for (let i = 0; i < 5000; i++) {
    scene.now += 2
    const asked = scene.send(`token ${i % 20}`)
    t.ok(asked.length >= 2)
    attempts += asked.length - 1
  }
  t.ok(attempts <= 1.2 * 5000 + 10 * 10, `${attempts} attempts`)
  t.ok(attempts >= 5000 + 10 * 10, 'ten retries a second are never too many')
  t.end()
})

t.test('a provider’s own Retry-After becomes the client’s', (t) => {
  const scene = open('one', 'two')
  scene.answers = { one: failed(429, 60_000), two: failed(429, 30_000) }
  for (let i = 0; i < 3; i++) {
    t.equal(scene.send('a').at(-1), 429)
    scene.now += 1000
  }
  const walk = scene.walk('a')
  for (const name of ['two', 'one']) {
    const step = walk.next()
    if (!step) break
    walk.asking(step)
    t.equal(step.provider.name, name)
    walk.note(step, failed(429, name === 'one' ? 60_000 : 30_000))
  }
  t.match(walk.verdict('m'), { statusCode: 429, retryAfterMs: 30_000, passing: true })
  scene.answers.two = failed(500)
  scene.now = 100_000
  t.equal(scene.send('b').at(-1), 502, 'the last word is not about waiting')
  t.end()
})

t.test('who lacks the model at an endpoint is passed over there, and asked when all do', (t) => {
  const scene = open('one', 'two')
  scene.answers.one = failed(404)
  scene.sendTimes(5)
  t.same(scene.send('a'), ['two'])
  t.same(scene.send('a', '/embeddings'), ['one', 'two'], 'another endpoint')
  scene.answers.two = failed(500)
  t.same(scene.send('a'), ['two', 502], 'not asked again and again')
  scene.answers.two = failed(404)
  scene.sendTimes(5)
  t.same(scene.send('a'), ['one', 404], 'somebody may have learnt it')
  scene.answers = {}
  t.same(scene.send('a'), ['one'])
  t.end()
})

t.test('a probe of what lacked a model is due after its rest, whatever other retries there were', (t) => {
  const scene = open('one', 'two')
  scene.answers.one = failed(404)
  scene.sendTimes(5)
  scene.now = 1000
  t.same(scene.send('a'), ['one', 'two'])
  t.same(scene.send('a'), ['two'])
  t.end()
})

t.test('a fault of this machine rests nobody, however often', (t) => {
  const scene = open('one', 'two')
  for (let i = 0; i < 20; i++)
    scene.walk(`token ${i}`).note(stepOf('one'), { ...failed(0), kind: 'own', reason: 'EMFILE' })
  t.same(scene.send('a'), ['one'])
  t.same(scene.told, [])
  t.end()
})

t.test('when this machine can ask nobody, nobody else is asked', (t) => {
  const scene = open('one', 'two')
  for (const [reason, next] of [
    ['EMFILE', undefined],
    ['ENOBUFS', undefined],
    ['EADDRNOTAVAIL', 'two'],
    ['PROXY_UNREACHABLE', 'two'],
  ] as const) {
    const walk = scene.walk('a')
    const step = walk.next()
    if (!step) throw new Error('somebody is asked')
    walk.asking(step)
    walk.note(step, { ...failed(0), kind: 'own', reason })
    t.equal(walk.next()?.provider.name, next, reason)
    t.match(walk.verdict('m'), { statusCode: 503, code: 'gateway_busy' }, reason)
  }
  t.end()
})
