import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { bearer, credits, openStream } from '../support/client.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { startRedis } from '../support/redis.ts'
import { controlled } from '../support/stream-behaviours.ts'

const words = (count: number) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: ' seven'.repeat(count) } }] })}\n\n`
const report = { prompt_tokens: 100, completion_tokens: 8_000, total_tokens: 8_100 }

t.test('streams that need a further step wait for a store that is away, and finish', async (t) => {
  const redis = await startRedis(t)
  const one = await startProvider(t)
  const path = modelsFile(t, { providers: { one: one.url }, models: { m: 'one' } })
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: { ...providerKeys('one'), REDIS_URL: redis.url },
  })
  const place = { dbDir: temporaryFolder(t), env: { REDIS_URL: redis.url } }
  const token = await mintToken(t, place, { credits: 20_000 })
  const provider = controlled()
  one.queue(provider)
  const opened = await openStream(gateway, {
    path: '/v1/chat/completions',
    headers: bearer(token),
    body: { model: 'm', stream: true, messages: [{ role: 'user', content: 'hello' }] },
  })
  const seen = opened.rest()
  await provider.write(words(50))
  redis.signal('SIGSTOP')
  for (let done = 0; done < 40; done += 1) {
    await provider.write(words(100))
    await wait(5)
  }
  await wait(1_500)
  redis.signal('SIGCONT')
  for (let done = 0; done < 40; done += 1) await provider.write(words(100))
  await provider.write(`data: ${JSON.stringify({ choices: [], usage: report })}\n\ndata: [DONE]\n\n`)
  await provider.end()
  const { cut, text } = await seen
  t.equal(cut, false)
  t.match(text, /\[DONE\]\n\n$/)
  t.notMatch(text, /"error"/)
  const after = await waitUntil(
    () => credits(gateway, token),
    ({ held, charged }) => held === 0 && charged > 0,
  )
  t.same(after, { credited: 20_000, balance: 11_900, held: 0, charged: 8_100 })
})
