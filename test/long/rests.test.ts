import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { type Behaviour, status } from '../support/behaviour.ts'
import { bearer, post, type Reply } from '../support/client.ts'
import * as faults from '../support/faults.ts'
import { mintToken } from '../support/gateway.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { connect, open, refused } from '../support/realtime.ts'
import { realtimeScene } from '../support/realtime-scene.ts'
import * as refusals from '../support/refusals.ts'

const price = { input: 1, output: 2 }
const lone = { plan: [{ provider: 'one' }], price }
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  // Rests are kept by provider and model: a name of its own for each test keeps them apart.
  models: {
    'lone-resets': lone,
    'lone-fails': lone,
    'lone-waits': lone,
    'lone-victims': lone,
    '*': { plan: [{ provider: 'one' }, { provider: 'two' }], price },
  },
})
const { one, two } = providers
const [second, third] = await Promise.all(['second', 'third'].map((user) => mintToken(t, gateway, { user })))
const tokens = [token, String(second), String(third)] as const
const say = (model: string, { content = 'hi', secret = token } = {}) =>
  post(
    gateway,
    '/v1/chat/completions',
    { model, max_tokens: 50, messages: [{ role: 'user', content }] },
    bearer(secret),
  )
/** So many requests at once, by all tokens in turn. */
const sayAtOnce = (model: string, count: number) =>
  Promise.all(Array.from({ length: count }, (_, i) => say(model, { secret: tokens[i % 3] ?? token })))
const provider = (reply: Reply) => reply.headers['x-gateway-provider']

t.beforeEach(() => {
  one.answer(chat())
  two.answer(chat())
})

t.test('a first provider that fails every second time costs nobody an answer', async (t) => {
  const half = refusals.turnAbout(status(500), chat())
  const choose = typeof half === 'function' ? half : () => half
  one.answer((seen) => (seen.json().model === 'storm of A' ? status(500) : choose(seen)))
  two.answer((seen) => (seen.json().model === 'storm of A' ? status(500) : chat()))
  const storm = sayAtOnce('storm of A', 150)
  for (let i = 0; i < 100; i++) t.match(await say('calm of B'), { status: 200 })
  for (const reply of await storm) t.match(reply, { status: 502 })
  one.answer(status(500))
  two.answer(status(500))
  t.match(await say('burst'), { status: 502 })
  one.answer(refusals.together(30, faults.resetBeforeAnswer()))
  two.answer(chat())
  for (const reply of await sayAtOnce('burst', 30))
    t.match(reply, { status: 200 }, 'one stray failure is nothing')
})

t.test('in a storm retries are ten a second at each provider, and every request is asked once', async (t) => {
  one.answer(status(500))
  two.answer(status(500))
  const asked = one.requests.length + two.requests.length
  const replies: Promise<Reply>[] = []
  const from = performance.now()
  while (performance.now() < from + 3000) {
    while (replies.length < (performance.now() - from) / 2)
      replies.push(say('storm', { secret: tokens[replies.length % 3] ?? token }))
    await setTimeout(10)
  }
  for (const reply of await Promise.all(replies)) t.match(reply, { status: 502 })
  const seconds = (performance.now() - from) / 1000
  const attempts = one.requests.length + two.requests.length - asked
  t.ok(attempts >= replies.length + 10 * seconds, `${attempts} attempts of ${replies.length} requests`)
  t.ok(attempts <= replies.length * 1.2 + 10 * seconds, `${attempts} attempts of ${replies.length} requests`)
})

t.test('what was in flight when a provider broke off is one failure: it rests for one second', async (t) => {
  for (const count of [6, 30]) {
    one.answer(refusals.together(count, faults.resetBeforeAnswer()))
    for (const reply of await sayAtOnce(`broken off ${count}`, count)) t.equal(provider(reply), 'two')
    one.answer(chat())
    const from = performance.now()
    t.equal(provider(await say(`broken off ${count}`)), 'two')
    await waitUntil(
      () => say(`broken off ${count}`),
      (reply) => provider(reply) === 'one',
    )
    const restedMs = performance.now() - from
    t.ok(restedMs > 500 && restedMs < 3500, `${count} at once: ${Math.round(restedMs)} ms`)
  }
})

t.test(
  'what was in flight when a rest began is not held against a provider that is well again',
  async (t) => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    one.answer({ act: (call) => released.then(() => call.reset()) })
    const asked = one.requests.length
    const inFlight = sayAtOnce('late news', 12)
    await one.waitForRequest(asked + 12)
    one.answer(status(500))
    await sayAtOnce('late news', 6)
    one.answer(chat())
    const next = () => say('late news')
    await waitUntil(next, (reply) => provider(reply) === 'one')
    release()
    for (const reply of await inFlight) t.equal(provider(reply), 'two')
    t.equal(provider(await next()), 'one')
  },
)

t.test('where nobody else is well a provider is asked however it rests', async (t) => {
  one.answer(refusals.together(10, faults.resetBeforeAnswer()))
  for (const reply of await sayAtOnce('lone-resets', 10)) t.match(reply, { status: 502 })
  one.answer(chat())
  t.match(await say('lone-resets'), { status: 200 })
  one.answer(status(500))
  await sayAtOnce('lone-fails', 20)
  const asked = one.requests.length
  t.match(await say('lone-fails'), { status: 502, headers: { 'x-gateway-attempts': '1' } })
  t.equal(one.requests.length, asked + 1)
  one.answer(chat())
  t.match(await say('lone-fails'), { status: 200 })
  two.answer(status(500))
  one.answer(status(500))
  await sayAtOnce('both rest', 10)
  two.answer(chat())
  t.match(await say('both rest'), { status: 200 }, 'whichever of the two is well')
})

t.test('a provider’s own Retry-After reaches the client as a 429, each time it is said again', async (t) => {
  one.answer(refusals.comeAgainIn(60))
  two.answer(refusals.comeAgainIn(90))
  for (const model of ['lone-waits', 'all wait']) {
    for (let i = 0; i < 3; i++) {
      const asked = one.requests.length
      const reply = await say(model)
      t.match(reply, { status: 429, headers: { 'retry-after': '60', 'x-should-retry': 'true' } })
      t.match(reply.json(), { error: { code: 'rate_limit_exceeded', type: 'rate_limit_error' } })
      t.equal(reply.headers['x-gateway-credits-charged'], '0')
      t.equal(one.requests.length, asked + 1)
    }
  }
  one.answer(chat())
  t.match(await say('lone-waits'), { status: 200 })
  t.match(await say('lone-waits'), { status: 200, headers: { 'x-gateway-attempts': '1' } })
  two.answer(status(503, { 'retry-after': '90' }))
  one.answer(refusals.comeAgainIn(60))
  t.match(await say('one waits'), { status: 502 }, 'a rest of a second’s end may be told')
})

const ofOneRequest: Record<string, Behaviour> = {
  'flagged prompts': refusals.flaggedPrompt(),
  'too much to afford': refusals.unaffordable(),
  'inputs that choke it': refusals.choking(),
  'a reset': faults.resetBeforeAnswer(),
  'come again': refusals.comeAgainIn(60),
}

t.test('what one token’s requests cause never turns another’s away from a provider', async (t) => {
  for (const [kind, refusal] of Object.entries(ofOneRequest)) {
    one.answer((seen) => (seen.json().messages[0].content === 'bad' ? refusal : chat()))
    for (const model of ['lone-victims', `victims of ${kind}`]) {
      for (let i = 0; i < 8; i++) await say(model, { content: 'bad' })
      for (let i = 0; i < 4; i++) {
        for (const secret of [second, third])
          t.match(
            await say(model, { secret }),
            { status: 200, headers: { 'x-gateway-provider': 'one', 'x-gateway-attempts': '1' } },
            kind,
          )
      }
    }
    const own = await say(`victims of ${kind}`)
    t.match(own, { status: 200 }, 'nor does the token lose its own')
  }
})

t.test('what two tokens suffer, or our own account, rests a provider for all', async (t) => {
  one.answer(refusals.comeAgainIn(60))
  await say('told to two')
  t.match((await say('told to two', { secret: second })).headers, { 'x-gateway-attempts': '2' })
  t.match((await say('told to two', { secret: third })).headers, { 'x-gateway-attempts': '1' })
  one.answer(refusals.wrongKey())
  t.match(await say('wrong key'), { status: 200, headers: { 'x-gateway-attempts': '2' } })
  t.match((await say('wrong key', { secret: second })).headers, { 'x-gateway-attempts': '1' })
  one.answer(status(500))
  for (let i = 0; i < 5; i++) await say('suffered by two', { secret: i < 4 ? token : second })
  t.match((await say('suffered by two', { secret: third })).headers, { 'x-gateway-attempts': '1' })
})

t.test('a provider that fails half of the time gets less, and all when it is well again', async (t) => {
  one.answer(refusals.turnAbout(chat(), status(500)))
  const asked = one.requests.length
  let sent = 0
  for (const until = performance.now() + 3000; performance.now() < until; await setTimeout(20)) {
    sent += 1
    t.match(await say('mixed', { secret: tokens[sent % 3] }), { status: 200 })
  }
  const share = (one.requests.length - asked) / sent
  t.ok(share < 0.6, `asked ${Math.round(share * 100)} % of the time`)
  t.ok(one.requests.length - asked > 5, 'and is not given up')
  one.answer(chat())
  let inRow = 0
  await waitUntil(
    async () => {
      inRow = provider(await say('mixed', { secret: second })) === 'one' ? inRow + 1 : 0
      return inRow
    },
    (count) => count === 30,
  )
})

t.test('a paid socket goes by the same rules', async (t) => {
  const behaviour = { refuse: { status: 403 } as { status: number } | undefined }
  const { gateway, url } = await realtimeScene(t, behaviour)
  const users = ['villain', 'victim', 'third', 'fourth']
  const [villain, victim, next, last] = await Promise.all(
    users.map((user) => mintToken(t, gateway, { user })),
  )
  const attempts = async (secret = '') =>
    (await open(t, { url, token: secret })).headers['x-gateway-attempts']
  for (let i = 0; i < 6; i++) await open(t, { url, token: String(villain) })
  t.equal(await attempts(villain), '1', 'its own go elsewhere')
  t.equal(await attempts(victim), '2')
  t.equal(await attempts(next), '1', 'the failures of two are the provider’s')
  const alone = { url: url.replace('=m', '=other'), token: String(last) }
  for (let i = 0; i < 8; i++) t.equal((await refused(t, alone)).status, 502)
  behaviour.refuse = undefined
  t.notOk('status' in (await connect(t, alone)), 'nobody rests alone')
})

t.test('a refused key rests a provider of paid sockets for all', async (t) => {
  const { gateway, url } = await realtimeScene(t, { refuse: { status: 401 } })
  const [first, next] = await Promise.all(['first', 'next'].map((user) => mintToken(t, gateway, { user })))
  const attempts = async (secret = '') =>
    (await open(t, { url, token: secret })).headers['x-gateway-attempts']
  t.equal(await attempts(first), '2')
  t.equal(await attempts(next), '1')
})
