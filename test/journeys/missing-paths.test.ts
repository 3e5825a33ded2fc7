import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { type Behaviour, json, raw } from '../support/behaviour.ts'
import { bearer, post } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'

const CHAT = '/v1/chat/completions'
const NO_PATH: Behaviour = json({ detail: 'Not Found' }, { status: 404 })
const NO_PAGE = raw(404, { 'content-type': 'text/html' }, '<html><h1>404 Not Found</h1></html>')
const NO_MODEL = json(
  { error: { message: 'The model `m` does not exist', code: 'model_not_found' } },
  { status: 404 },
)

const [one, two] = [await startProvider(t), await startProvider(t)]
const path = modelsFile(t, {
  providers: { one: one.url, two: two.url },
  models: { alone: 'one', both: ['one', 'two'] },
})
const gateway = await startGateway(t, {
  modelsFile: path,
  env: { ...providerKeys('one', 'two'), RATE_LIMIT_PER_MINUTE: '100000' },
})
const headers = bearer(await mintToken(t, gateway))
const ask = (model: string, endpoint = CHAT, more: object = {}) =>
  post(gateway, endpoint, { model, messages: [], ...more }, headers)
const loud = () => gateway.lines().filter(({ msg }) => /has nothing at this path/.test(msg))

t.test('a wrong base URL is the operator’s mistake: 502, and one loud line that names it', async (test) => {
  for (const answer of [NO_PATH, NO_PAGE, NO_PATH]) {
    one.answer(answer)
    for (const stream of [false, true]) {
      const reply = await ask('alone', CHAT, { stream })
      test.match(reply, { status: 502, headers: { 'x-gateway-credits-charged': '0' } })
      test.match(reply.json(), { error: { code: 'upstream_failed' } })
      test.notMatch(reply.text, /127\.0\.0\.1|Not Found/)
    }
  }
  const lines = loud()
  test.match(lines, [{ level: 'error', provider: 'one', address: `${one.url}/chat/completions` }])
  test.equal(lines.length, 1)
})

t.test('the next provider is asked, and a model that only it lacks is a 404 no more', async (test) => {
  one.answer(NO_PATH)
  test.match(await ask('both'), { status: 200, headers: { 'x-gateway-provider': 'two' } })
  two.answer(NO_MODEL)
  test.match(await ask('both'), { status: 502 }, 'nobody knows what the first would have said')
  one.answer(NO_MODEL)
  await waitUntil(
    () => ask('both'),
    ({ status }) => status === 404,
  )
  two.answer(chat())
})

t.test('a provider that answers elsewhere lacks an endpoint, and its address is right', async (test) => {
  one.answer((seen) => (seen.url.endsWith('/chat/completions') ? chat() : NO_PATH))
  await waitUntil(
    () => ask('alone'),
    ({ status }) => status === 200,
  )
  const before = loud().length
  const reply = await ask('alone', '/v1/embeddings', { input: 'a' })
  test.match(reply.status, 404)
  test.match(reply.json().error.message, 'has it at /v1/embeddings; ask for it at another endpoint')
  test.equal(loud().length, before)

  // Other settings: what was known of the address counts no more.
  writeFileSync(path, `${readFileSync(path, 'utf8')}\n`)
  await gateway.waitForLine(({ msg }) => /models file re-read/.test(msg))
  one.answer(NO_PATH)
  await waitUntil(
    () => ask('alone'),
    ({ status }) => status === 502,
  )
  test.equal(loud().length, before + 1)
})

t.test('a 404 whose body never ends, or is huge, is one of the model and holds nobody up', async (test) => {
  const stalled: Behaviour = {
    act: ({ res }) => void res.writeHead(404, { 'content-type': 'application/json' }).write('{"detail":'),
  }
  const huge = raw(404, { 'content-type': 'text/plain' }, 'Not Found'.padEnd(300_000, '.'))
  for (const answer of [stalled, huge]) {
    one.answer(answer)
    const from = performance.now()
    test.equal((await ask('alone')).status, 404)
    test.ok(performance.now() - from < 3_000)
    test.match(await ask('both'), { status: 200, headers: { 'x-gateway-provider': 'two' } })
  }
})
