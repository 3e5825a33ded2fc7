import t from 'tap'
import { bearer, openStream, post } from '../support/client.ts'
import { mintToken, runTokenGen } from '../support/gateway.ts'
import { startJourney, waitForRow } from '../support/journey.ts'
import { controlled } from '../support/stream-behaviours.ts'

const { gateway, providers } = await startJourney(t, {
  providers: ['one', 'claude'],
  entries: { claude: { dialect: 'anthropic' } },
  models: { 'claude-x': 'claude', '*': 'one' },
})
const CHAT = '/v1/chat/completions'
const hello = { stream: true, messages: [{ role: 'user', content: 'Hello, how are you?' }] }

const FORMATS = [
  [
    'one',
    CHAT,
    'gpt-x',
    'data: {"choices":[{"index":0,"delta":{"content":"some words"}}]}\n\n',
    /data: \{"error":\{[^}]*"code":"invalid_api_key"\}\}\n\n$/,
  ],
  [
    'claude',
    '/v1/messages',
    'claude-x',
    'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words"}}\n\n',
    /event: error\ndata: \{"type":"error","error":\{"type":"authentication_error",[^}]*\}[^}]*\}\n\n$/,
  ],
] as const

for (const [name, path, model, event, ending] of FORMATS) {
  t.test(
    `a revoked token's running stream of ${path} ends within a second, charged for what it used`,
    async (t) => {
      const secret = await mintToken(t, gateway, { user: `leaver-${name}` })
      const other = await mintToken(t, gateway, { user: `stayer-${name}` })
      const open = async (token: string) => {
        const provider = controlled()
        providers[name].queue(provider)
        const opening = openStream(gateway, { path, headers: bearer(token), body: { model, ...hello } })
        await provider.write(event)
        return { provider, opened: await opening }
      }
      const gone = await open(secret)
      const stays = await open(other)
      const listed = await runTokenGen(t, gateway.dbDir, ['--list', '--json'])
      const tokens: { id: string; user: string }[] = JSON.parse(listed.stdout)
      const id = tokens.find(({ user }) => user === `leaver-${name}`)?.id ?? ''
      const rest = gone.opened.rest()
      t.match(await runTokenGen(t, gateway.dbDir, ['--revoke', id]), { code: 0 })
      const from = performance.now()
      const { text, cut } = await rest
      t.ok(performance.now() - from < 1000, `${Math.round(performance.now() - from)} ms`)
      t.ok(cut)
      t.match(text, ending)
      const row = await waitForRow(gateway, String(gone.opened.headers['x-request-id']))
      t.match(row, { status: 401, estimated: 1 })
      t.ok(Number(row.charged_micros) > 0)
      t.equal((await post(gateway, path, { model, ...hello }, bearer(secret))).status, 401)
      await stays.provider.write(event)
      await stays.provider.end()
      t.match(await stays.opened.rest(), { cut: false })
    },
  )
}

t.test('a whole answer that is on its way is finished and paid for, also of a revoked token', async (t) => {
  const secret = await mintToken(t, gateway, { user: 'waiter' })
  const provider = controlled({ headers: { 'content-type': 'application/json' } })
  providers.one.queue(provider)
  const body = { model: 'gpt-x', messages: hello.messages }
  const answering = post(gateway, CHAT, body, bearer(secret))
  await provider.opened
  const { stdout } = await runTokenGen(t, gateway.dbDir, ['--list', '--json'])
  const tokens: { id: string; user: string }[] = JSON.parse(stdout)
  const id = tokens.find(({ user }) => user === 'waiter')?.id ?? ''
  t.match(await runTokenGen(t, gateway.dbDir, ['--revoke', id]), { code: 0 })
  t.equal((await post(gateway, CHAT, body, bearer(secret))).status, 401)
  const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }
  await provider.write(JSON.stringify({ choices: [{ index: 0, message: { content: 'done' } }], usage }))
  await provider.end()
  const { status, headers } = await answering
  t.equal(status, 200)
  const row = await waitForRow(gateway, String(headers['x-request-id']))
  t.match(row, { status: 200, charged_micros: 7_000_000 })
})
