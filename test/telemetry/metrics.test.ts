import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { json } from '../support/behaviour.ts'
import { bearer, get, openStream, post } from '../support/client.ts'
import { resetBeforeAnswer } from '../support/faults.ts'
import { mintToken, temporaryFolder } from '../support/gateway.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { unusedPort } from '../support/ports.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const ask = { model: 'm', max_tokens: 20, messages: [{ role: 'user', content: 'hello there' }] }
const usage = {
  prompt_tokens: 12,
  completion_tokens: 5,
  total_tokens: 17,
  prompt_tokens_details: { cached_tokens: 4 },
  completion_tokens_details: { reasoning_tokens: 2 },
}
const paid = json({ id: 'one', choices: [{ index: 0, message: { content: 'hi' } }], usage })
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  models: {
    m: { plan: [{ provider: 'one' }, { provider: 'two' }], price: { input: 1, cachedInput: 0.5, output: 2 } },
  },
})
const admin = await mintToken(t, gateway, { user: 'prometheus', type: 'admin', credits: 0 })

/** The lines of a scrape, by name and labels. */
async function scrape(): Promise<Map<string, number>> {
  const { status, text } = await get(gateway, '/metrics', bearer(admin))
  if (status !== 200) throw new Error(`the scrape was a ${status}`)
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]))
}
const labels = (route: string, method: string, status: number) =>
  `gateway_requests_total{route="${route}",method="${method}",status="${status}"}`

t.test('only an admin’s token opens it, and nothing says that it is there', async (t) => {
  t.match(await get(gateway, '/metrics'), { status: 401 })
  const refused = await get(gateway, '/metrics', bearer(token))
  const unknown = await get(gateway, '/no-such-path', bearer(token))
  t.equal(refused.status, 404)
  t.same({ ...JSON.parse(refused.text) }, { ...JSON.parse(unknown.text) })
  t.notMatch(refused.text, /gateway_/)
  const { status, headers } = await get(gateway, '/metrics', bearer(admin))
  t.equal(status, 200)
  t.match(headers, {
    'content-type': 'text/plain; version=0.0.4; charset=utf-8',
    'cache-control': 'no-store',
  })
})

t.test('requests, LLM tokens, credits and failures are counted as they were', async (t) => {
  const before = await scrape()
  /** By how much it has grown; the count comes when the connection is done with a request, after its client is. */
  const grown = (name: string, to: number) =>
    waitUntil(
      async () => ((await scrape()).get(name) ?? 0) - (before.get(name) ?? 0),
      (count) => count >= to,
    )
  providers.one.queue(paid)
  t.equal((await post(gateway, CHAT, ask, bearer(token))).status, 200)
  providers.one.queue(resetBeforeAnswer())
  providers.two.queue(paid)
  t.equal((await post(gateway, CHAT, ask, bearer(token))).status, 200)
  t.equal((await post(gateway, CHAT, {}, bearer(token))).status, 400)
  t.equal((await get(gateway, `/${'secret'.repeat(3)}`, bearer(token))).status, 404)
  const counts: [string, number][] = [
    [labels(CHAT, 'POST', 200), 2],
    [labels(CHAT, 'POST', 400), 1],
    [labels('unknown', 'GET', 404), 1],
    ['gateway_provider_failures_total{provider="one",reason="ECONNRESET"}', 1],
    [`gateway_request_duration_seconds_count{route="${CHAT}"}`, 3],
  ]
  for (const provider of ['one', 'two']) {
    const tokens = (kind: string) => `gateway_llm_tokens_total{provider="${provider}",kind="${kind}"}`
    counts.push([tokens('input'), 12], [tokens('cached'), 4], [tokens('output'), 5], [tokens('reasoning'), 2])
    counts.push([`gateway_credits_charged_total{provider="${provider}"}`, 8 + 2 + 10])
    counts.push([`gateway_first_byte_seconds_count{provider="${provider}"}`, 1])
  }
  for (const [name, to] of counts) t.equal(await grown(name, to), to, name)
})

t.test('what runs is a gauge, and what no provider reported is marked', async (t) => {
  const running = async () => (await scrape()).get('gateway_running')
  t.equal(await waitUntil(running, (count) => count === 0), 0)
  const before = (await scrape()).get('gateway_usage_estimated_total{provider="one"}') ?? 0
  const slow = controlled()
  providers.one.queue(slow)
  const opening = openStream(gateway, { path: CHAT, headers: bearer(token), body: { ...ask, stream: true } })
  await slow.opened
  t.equal(await running(), 1)
  await slow.write('data: {"choices":[{"index":0,"delta":{"content":"some words"}}]}\n\n')
  await slow.write('data: [DONE]\n\n')
  await slow.end()
  await (await opening).rest()
  t.equal(await waitUntil(running, (count) => count === 0), 0)
  const estimated = async () => (await scrape()).get('gateway_usage_estimated_total{provider="one"}')
  t.equal(await waitUntil(estimated, (count) => count !== before), before + 1)
  t.equal((await scrape()).get('gateway_ready'), 1)
})

t.test(
  'no label holds what a client chose, no line a secret, and a scrape leaves no line in the log',
  async (t) => {
    const model = 'a-model-of-the-clients-own'
    await post(gateway, CHAT, { ...ask, model }, { ...bearer(token), 'x-request-id': 'chosen-id' })
    const { text } = await get(gateway, '/metrics', bearer(admin))
    for (const word of [model, 'chosen-id', 'testuser', token, admin, token.slice(0, 7)])
      t.notOk(text.includes(word), word)
    await gateway.waitForLine(({ requestId }) => requestId === 'chosen-id')
    t.same(
      gateway.lines().filter(({ route }) => route === '/metrics' && route !== undefined),
      [],
    )
  },
)

const has = (program: string) => spawnSync('which', [program]).status === 0
const skip = !has('prometheus') && 'no Prometheus found: apt-get install prometheus'

t.test('a real Prometheus scrapes it with the token in a file', { skip }, async (t) => {
  const [dir, port] = [temporaryFolder(t, 'gw-prometheus-'), await unusedPort()]
  writeFileSync(join(dir, 'token'), admin, { mode: 0o600 })
  writeFileSync(
    join(dir, 'prometheus.yml'),
    JSON.stringify({
      scrape_configs: [
        {
          job_name: 'gateway',
          scrape_interval: '1s',
          authorization: { credentials_file: join(dir, 'token') },
          static_configs: [{ targets: [`127.0.0.1:${gateway.port}`] }],
        },
      ],
    }),
  )
  const args = [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`]
  const child = spawn('prometheus', [...args, `--web.listen-address=127.0.0.1:${port}`], { stdio: 'ignore' })
  t.teardown(async () => {
    child.kill()
    if (child.exitCode === null) await once(child, 'exit')
  })
  const query = async (text: string): Promise<string | undefined> => {
    const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(text)}`
    // While it starts it does not listen, then it is not ready.
    const answer = await fetch(url).catch(() => undefined)
    if (!answer?.ok) return undefined
    const found = (await answer.json()) as { data?: { result?: { value: [number, string] }[] } }
    return found.data?.result?.[0]?.value[1]
  }
  t.equal(
    await waitUntil(
      () => query('up{job="gateway"}'),
      (value) => value === '1',
    ),
    '1',
  )
  t.equal(await query('gateway_ready'), '1')
  t.ok(Number(await query(`gateway_requests_total{route="${CHAT}",status="200"}`)) >= 2)
  t.ok(Number(await query('process_resident_memory_bytes')) > 0)
  const checked = spawnSync('promtool', ['check', 'metrics'], {
    input: (await get(gateway, '/metrics', bearer(admin))).text,
    encoding: 'utf8',
  })
  // The process metrics' names are the package's own.
  const ours = `${checked.stdout}${checked.stderr}`.split('\n').filter((line) => line.includes('gateway_'))
  t.same(ours, [])
})
