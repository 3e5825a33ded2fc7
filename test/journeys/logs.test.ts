import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { healthy } from '../support/answers.ts'
import { bearer, credits, get, openStream, post, sendLeaving } from '../support/client.ts'
import { hang, hangAfterHeaders } from '../support/faults.ts'
import { type LogLine, mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { waitForRow } from '../support/journey.ts'
import { lockLedger, waitForOutage } from '../support/ledger-lock.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { controlled } from '../support/stream-behaviours.ts'
import type { Owner } from '../support/waiting.ts'

const CHAT = '/v1/chat/completions'
const ask = { model: 'm', max_tokens: 20, messages: [{ role: 'user', content: 'hello there' }] }
const event = 'data: {"choices":[{"index":0,"delta":{"content":"some words"}}]}\n\n'
const today = () => new Date().toISOString().slice(0, 10)

const provider = await startProvider(t)
const models = modelsFile(t, {
  providers: { main: provider.url },
  models: { m: { plan: [{ provider: 'main', model: 'their-m' }] } },
})
const start = (t: Owner, logDir?: string): Promise<TestGateway> =>
  startGateway(t, {
    modelsFile: models,
    env: {
      ...providerKeys('main'),
      RATE_LIMIT_PER_MINUTE: '100000',
      FIRST_BYTE_TIMEOUT_MS: '500',
      IDLE_TIMEOUT_MS: '500',
      UNAUTHENTICATED_PER_MINUTE: '1000000',
    },
    ...(logDir === undefined ? {} : { logDir }),
  })
const filesIn = (dir: string) => readdirSync(dir).filter((name) => name.startsWith('server.'))
const linesIn = (dir: string): LogLine[] =>
  filesIn(dir).flatMap((name) =>
    readFileSync(join(dir, name), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  )
/** The request's one line, by the id that its client chose. */
const lineOf = (gateway: TestGateway, id: string) =>
  gateway.waitForLine(({ msg, requestId }) => msg === 'request' && requestId === id)

t.test('one line a request, the same in the file of the day and on stdout', async (t) => {
  const gateway = await start(t)
  const token = await mintToken(t, gateway, { user: 'ann' })
  const call = (id: string) => ({ ...bearer(token), 'x-request-id': id })
  const reply = await post(gateway, `${CHAT}?trace=of-a-query`, ask, call('whole'))
  const whole = await lineOf(gateway, 'whole')
  t.match(whole, {
    level: 'info',
    method: 'POST',
    route: CHAT,
    status: 200,
    user: 'ann',
    tokenId: /^tok_/,
    address: '127.0.0.1',
    model: 'm',
    provider: 'main',
    modelUsed: 'their-m',
    attempts: 1,
    inputTokens: 12,
    outputTokens: 7,
    estimated: false,
    chargedMicros: Number(reply.headers['x-gateway-credits-charged']) * 1e6,
  })
  t.ok(Number(whole.firstByteMs) > 0 && Number(whole.latencyMs) >= Number(whole.firstByteMs))
  await post(gateway, CHAT, '[]', call('refused'))
  t.match(await lineOf(gateway, 'refused'), { status: 400, error: 'invalid_json' })
  await get(gateway, '/v1/models', { 'x-request-id': 'stranger' })
  t.match(await lineOf(gateway, 'stranger'), { status: 401, error: 'invalid_api_key' })

  const { code } = await gateway.stop()
  t.equal(code, 0)
  t.strictSame(filesIn(gateway.logDir), [`server.${today()}.1.log`])
  t.strictSame(linesIn(gateway.logDir), gateway.lines())
  t.notMatch(gateway.stdout(), /of-a-query|hello there/)
  const ids = gateway.lines().flatMap(({ msg, requestId }) => (msg === 'request' ? [requestId] : []))
  t.equal(ids.length, new Set(ids).size, 'none has two')
})

t.test('whoever leaves, and whatever breaks off, stands in its line with what it was charged', async (t) => {
  const gateway = await start(t)
  const token = await mintToken(t, gateway)
  const open = (id: string) =>
    openStream(gateway, {
      path: CHAT,
      body: { ...ask, stream: true },
      headers: { ...bearer(token), 'x-request-id': id },
    })

  const left = controlled()
  provider.queue(left)
  const stream = await open('left')
  await left.write(event)
  stream.abort()
  const line = await lineOf(gateway, 'left')
  t.match(line, { status: 499, error: 'client_left', provider: 'main', estimated: true })
  t.ok(Number(line.chargedMicros) > 0 && Number(line.inputTokens) > 0)
  t.equal((await credits(gateway, token)).charged, Number(line.chargedMicros) / 1e6)

  provider.queue(hang())
  const asked = provider.requests.length
  const early = await Promise.race([open('early').catch(() => undefined), provider.waitForRequest(asked + 1)])
  t.ok(early)

  const dying = controlled()
  provider.answer(dying)
  const broken = await open('broken')
  await dying.write(event)
  const rest = broken.rest()
  await dying.reset()
  t.ok((await rest).cut)
  const brokenLine = await lineOf(gateway, 'broken')
  t.match(brokenLine, { status: 502, error: 'upstream_failed' })
  t.ok(Number(brokenLine.chargedMicros) > 0)

  provider.answer(hangAfterHeaders('text/event-stream'))
  const silent = await open('silent')
  t.ok((await silent.rest()).cut)
  t.match(await lineOf(gateway, 'silent'), { status: 504, cause: 'FIRST_BYTE_TIMEOUT' })

  const stopping = controlled()
  provider.answer(stopping)
  const stopped = await open('stopped')
  await stopping.write(event)
  t.ok((await stopped.rest()).cut)
  t.match(await lineOf(gateway, 'stopped'), { status: 502, cause: 'IDLE_TIMEOUT' })
})

t.test('a client that leaves while its bill is being written has one line, with its price', async (t) => {
  const gateway = await start(t)
  const token = await mintToken(t, gateway, { user: 'gone' })
  provider.answer(healthy())
  const lock = lockLedger(t, gateway)
  const headers = { ...bearer(token), 'x-request-id': 'left-early' }
  const client = sendLeaving(gateway, { path: CHAT, headers, body: ask })
  await waitForOutage(gateway)
  client.leave()
  t.ok(await client.left)
  lock.end()
  const row = await waitForRow(gateway, 'left-early')
  t.match(row, { status: 200, provider: 'main' })
  const line = await lineOf(gateway, 'left-early')
  t.equal(line.chargedMicros, row.charged_micros)
  await post(gateway, CHAT, ask, { ...bearer(token), 'x-request-id': 'afterwards' })
  await lineOf(gateway, 'afterwards')
  t.equal(gateway.lines().filter(({ requestId }) => requestId === 'left-early').length, 1)
})
