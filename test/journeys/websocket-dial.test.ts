import t from 'tap'
import { startEcho } from '../support/echo.ts'
import { mintToken, runTokenGen, startGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { frame, openRaw } from '../support/raw-socket.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'
import { refused } from '../support/realtime.ts'
import type { Owner } from '../support/waiting.ts'

const REALTIME = '/v1/realtime?model=m'

/** A provider and a service that take a connection and say nothing. */
async function hanging(t: Owner, env: Record<string, string> = {}) {
  const upstream = await startRawUpstream(t)
  upstream.mode = 'hang'
  const path = modelsFile(t, {
    providers: { main: `http://127.0.0.1:${upstream.port}/v1` },
    models: { m: 'main' },
  })
  const routes = { WS_ROUTES: `/ws=ws://127.0.0.1:${upstream.port}/ws` }
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: { ...providerKeys('main'), ...routes, ...env },
  })
  return { upstream, gateway, token: await mintToken(t, gateway) }
}

t.test('an upstream that does not answer the handshake in time is 504', async (t) => {
  const { gateway, token } = await hanging(t, { FIRST_BYTE_TIMEOUT_MS: '300' })
  for (const path of [REALTIME, '/ws']) {
    const seen = await refused(t, { url: gateway.url + path, token })
    t.equal(seen.status, 504, path)
    t.equal(JSON.parse(seen.body).error.code, 'upstream_timeout', path)
  }
})

t.test('a token that is revoked while the upstream is dialed is 401', async (t) => {
  const { upstream, gateway, token } = await hanging(t)
  const answers = [REALTIME, '/ws'].map((path) => refused(t, { url: gateway.url + path, token }))
  await upstream.until('both to be dialed', () => (upstream.seen.length === 2 ? true : undefined))
  const { stdout } = await runTokenGen(t, gateway.dbDir, ['--list', '--json'])
  const tokens: { id: string; user: string }[] = JSON.parse(stdout)
  await runTokenGen(t, gateway.dbDir, ['--revoke', tokens.find(({ user }) => user === 'testuser')?.id ?? ''])
  for (const seen of await Promise.all(answers)) {
    t.equal(seen.status, 401)
    t.equal(JSON.parse(seen.body).error.code, 'invalid_api_key')
  }
  await upstream.until('the dials to be given up', () => (upstream.sockets.size === 0 ? true : undefined))
})

t.test('what a client sends before the upstream has answered arrives after it, in order', async (t) => {
  const dialed = Promise.withResolvers<void>()
  const answered = Promise.withResolvers<void>()
  const echo = await startEcho(t, {
    accept: () => {
      dialed.resolve()
      return answered.promise
    },
  })
  const gateway = await startGateway(t, {
    env: { WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws!open` },
  })
  const client = openRaw(t, { port: gateway.port, path: '/ws' })
  client.socket.write(frame({ payload: 'with the handshake' }))
  await dialed.promise
  const long = 'x'.repeat(100_000)
  const early = Buffer.concat([frame({ payload: long }), frame({ payload: 'early' })])
  await new Promise<void>((resolve) => client.socket.write(early, () => resolve()))
  answered.resolve()
  await client.opened
  client.socket.write(frame({ payload: 'late' }))
  await client.until('all of it', () => client.frames()[3])
  t.same(
    client.frames().map(({ payload }) => String(payload)),
    ['with the handshake', long, 'early', 'late'],
  )
})
