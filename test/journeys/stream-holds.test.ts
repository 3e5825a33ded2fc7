import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { chat, chatStream, messageStream } from '../support/answers.ts'
import { bearer, credits, openStream, post } from '../support/client.ts'
import { mintToken } from '../support/gateway.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { SOME_COUNTS } from '../support/openai-wire.ts'
import { type Controlled, controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const STEP = 2048
const { gateway, providers } = await startJourney(t, {
  providers: ['one', 'claude'],
  entries: { claude: { dialect: 'anthropic' } },
  models: {
    'claude-x': { plan: [{ provider: 'claude' }], maxOutput: 128_000 },
    capped: { plan: [{ provider: 'one' }], maxOutput: 4000 },
    '*': { plan: [{ provider: 'one' }] },
  },
})
const { one, claude } = providers

const settled = (secret: string) =>
  waitUntil(
    () => credits(gateway, secret),
    ({ held }) => held === 0,
  )
const stream = async (secret: string, body: object, path = CHAT) => {
  const opened = await openStream(gateway, { path, headers: bearer(secret), body: { stream: true, ...body } })
  return { status: opened.status, headers: opened.headers, ...(await opened.rest()) }
}
const hello = { messages: [{ role: 'user', content: 'hello' }] }
const tokensOf = (output: number) => ({ ...SOME_COUNTS, input: 100, output })
/** One LLM token each. */
const words = (count: number) => Array.from({ length: count }, () => ' seven')
/** A sentence of eleven tokens, again and again. */
const english = (bytes: number) => 'The quick brown fox jumps over the lazy dog again. '.repeat(bytes / 51)

t.test("an agent's hello that names 128,000 tokens of output streams on 10,000 credits", async (test) => {
  const token = await mintToken(test, gateway, { credits: 10_000 })
  claude.queue(messageStream())
  const seen = await stream(token, { model: 'claude-x', max_tokens: 128_000, ...hello }, '/v1/messages')
  test.match(seen, { status: 200, cut: false })
  const { balance, charged } = await settled(token)
  test.ok(charged > 0 && charged < 100)
  test.equal(balance + charged, 10_000)
})

t.test('a stream begins with its first step held, and takes further ones as it grows', async (test) => {
  const token = await mintToken(test, gateway, { credits: 1_000_000 })
  const provider = controlled()
  one.queue(provider)
  const opened = await openStream(gateway, {
    path: CHAT,
    headers: bearer(token),
    body: { model: 'x', stream: true, ...hello },
  })
  const heldAtFirst = (await credits(gateway, token)).held
  test.ok(heldAtFirst >= STEP && heldAtFirst < STEP + 200, `${heldAtFirst} held`)
  const pieces = opened[Symbol.asyncIterator]()
  const text = words(100).join('')
  for (let done = 0; done < 100; done += 1) {
    const delta = { choices: [{ index: 0, delta: { content: text } }] }
    await provider.write(`data: ${JSON.stringify(delta)}\n\n`)
    await pieces.next()
  }
  const { held } = await waitUntil(
    () => credits(gateway, token),
    (now) => now.held >= 10_000,
  )
  test.ok(held < 10_000 + 2 * STEP, `${held} held of 10,000 tokens and a step`)
  await provider.end()
  for await (const _ of opened);
  test.equal((await settled(token)).held, 0)
})

t.test('a stream of 20,000 tokens is not cut while there are credits', async (test) => {
  const token = await mintToken(test, gateway, { credits: 1_000_000 })
  one.queue(chatStream({ words: words(20_000), counts: tokensOf(20_000) }))
  const seen = await stream(token, { model: 'anything', ...hello })
  test.match(seen, { status: 200, cut: false, text: /\[DONE\]\n\n$/ })
  test.notMatch(seen.text, /insufficient_quota/)
  test.equal((await settled(token)).charged, 20_100)
})

t.test('ten streams at once of 2,500 tokens each share 40,000 credits', async (test) => {
  const token = await mintToken(test, gateway, { credits: 40_000 })
  const ask = { model: 'x', max_tokens: 9000, ...hello }
  one.queue(...Array.from({ length: 10 }, () => chatStream({ words: words(2500), counts: tokensOf(2500) })))
  const all = await Promise.all(Array.from({ length: 10 }, () => stream(token, ask)))
  for (const { status, cut, text } of all) {
    test.equal(status, 200)
    test.equal(cut, false)
    test.notMatch(text, /insufficient_quota/)
  }
  test.same(await settled(token), { credited: 40_000, balance: 14_000, held: 0, charged: 26_000 })
})

t.test('streams share a balance to its last credit, and none crosses it', async (test) => {
  const token = await mintToken(test, gateway, { credits: 15_000 })
  const all = Array.from({ length: 6 }, () => controlled())
  one.queue(...all)
  const seen = all.map(() => stream(token, { model: 'x', ...hello }))
  const some = words(50).map(
    (content) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`,
  )
  const writeOn = async ({ opened, write }: Controlled) => {
    const { res } = await opened
    for (let done = 0; done < 20_000 && !res.destroyed; done += some.length) {
      await write(some.join(''))
      await wait(1)
    }
    res.end()
  }
  await Promise.all(all.map(writeOn))
  for (const { status, text } of await Promise.all(seen)) {
    test.equal(status, 200)
    test.match(text, /"code":"insufficient_quota"/)
  }
  test.same(await settled(token), { credited: 15_000, balance: 0, held: 0, charged: 15_000 })
})

t.test('a whole answer holds what the model can give at most, whatever was named', async (test) => {
  const token = await mintToken(test, gateway, { credits: 5000 })
  one.queue(chat())
  const ask = { model: 'capped', max_tokens: 128_000, ...hello }
  test.equal((await post(gateway, CHAT, ask, bearer(token))).status, 200)
  const poor = await mintToken(test, gateway, { user: 'poor', credits: 1000 })
  const refused = await post(gateway, CHAT, ask, bearer(poor))
  test.match(refused, { status: 429, headers: { 'x-should-retry': 'false' } })
  const { message } = refused.json().error
  const fitting = Number(/at most (\d+) output tokens/.exec(message)?.[1])
  test.ok(fitting > 800 && fitting < 1000, message)
  one.queue(chat())
  test.equal((await post(gateway, CHAT, { ...ask, max_tokens: fitting }, bearer(poor))).status, 200)
})

t.test('input is counted before anybody is refused for its bytes', async (test) => {
  const token = await mintToken(test, gateway, { credits: 12_000 })
  const ask = (bytes: number, limit: number) => ({
    model: 'capped',
    max_tokens: limit,
    messages: [{ role: 'user', content: english(bytes) }],
  })
  one.queue(chat({ usage: { ...SOME_COUNTS } }))
  test.equal((await post(gateway, CHAT, ask(12_000, 100), bearer(token))).status, 200)
  const refused = await post(gateway, CHAT, ask(100_000, 100), bearer(token))
  test.equal(refused.status, 429)
})
