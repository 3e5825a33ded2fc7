import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { bearer, get } from '../support/client.ts'
import { clientsOf } from '../support/descriptors.ts'
import { formBody } from '../support/form.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { handshakeText } from '../support/raw-socket.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'

const TIMES = 60
const MOST_ROUNDS = 10
const BOUNDARY = 'multipart/form-data; boundary=form-boundary-of-a-test'

const json = JSON.stringify({ model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] })
const form = formBody([
  ['model', 'm'],
  ['file', 'a.wav', Buffer.alloc(2_000, 'a')],
])

/** What the clients send that are gone before, while or after it is read; `auth` is a header line or nothing. */
const requestsWith = (auth: string): Record<string, Buffer> => {
  const line = (first: string, headers = '') =>
    Buffer.from(`${first} HTTP/1.1\r\nHost: a\r\n${auth}${headers}\r\n`)
  const post = (path: string, body: string | Buffer, type: string) =>
    Buffer.concat([
      line(`POST ${path}`, `Content-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`),
      Buffer.from(body),
    ])
  const handshake = (path: string) => Buffer.from(handshakeText({ path }).replace('\r\n', `\r\n${auth}`))
  return {
    health: line('GET /health'),
    models: line('GET /v1/models'),
    'no path': line('GET /nowhere'),
    'the own token': line('GET /v1/token'),
    chat: post('/v1/chat/completions', json, 'application/json'),
    upload: post('/v1/audio/transcriptions', form, BOUNDARY),
    passthrough: line('GET /v1/files'),
    realtime: handshake('/v1/realtime?model=m'),
    service: handshake('/ws'),
    'open service': handshake('/open'),
  }
}

for (const proxies of ['', '127.0.0.1/32'])
  t.test(`clients that reset are no errors of ours ${proxies && 'behind a trusted proxy'}`, async (t) => {
    const provider = await startProvider(t)
    const upstream = await startRawUpstream(t)
    const origin = `127.0.0.1:${upstream.port}`
    const gateway = await startGateway(t, {
      modelsFile: modelsFile(t, {
        providers: { main: provider.url, sockets: `http://${origin}/v1` },
        models: { m: 'main' },
      }),
      env: {
        ...providerKeys('main', 'sockets'),
        RATE_LIMIT_PER_MINUTE: '1000000',
        UNAUTHENTICATED_PER_MINUTE: '1000000',
        WS_ROUTES: `/ws=ws://${origin}/ws,/open=ws://${origin}/open!open`,
        PASSTHROUGH_PATHS: `/v1/files=${provider.url}/files`,
        TRUSTED_PROXIES: proxies,
      },
    })
    const token = await mintToken(t, gateway, { credits: 100_000_000, addresses: '127.0.0.0/8' })
    const reset = async (bytes: Buffer, afterMs: number) => {
      const socket = connect(gateway.port, '127.0.0.1')
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      await new Promise<void>((sent) => socket.write(bytes, () => sent()))
      if (afterMs > 0) await wait(afterMs)
      const closed = once(socket, 'close')
      socket.resetAndDestroy()
      await closed
    }
    const seen = () => gateway.lines().filter(({ msg }) => msg === 'request')
    // On a busy machine most of them are gone before they are accepted.
    for (let round = 0; round < MOST_ROUNDS && seen().length <= TIMES; round++)
      for (const auth of ['', `Authorization: Bearer ${token}\r\n`])
        for (const bytes of Object.values(requestsWith(auth)))
          for (let done = 0; done < TIMES; done += 30)
            await Promise.all(Array.from({ length: 30 }, (_, index) => reset(bytes, index % 6)))
    await waitUntil(
      () => clientsOf(gateway),
      (now) => now === 0,
    )
    t.equal((await get(gateway, '/v1/models', bearer(token))).status, 200)
    await gateway.stop()
    const wrong = gateway
      .lines()
      .filter(
        ({ level, msg, status }) =>
          level === 'error' || level === 'fatal' || msg === 'request failed' || Number(status) >= 500,
      )
    t.strictSame(wrong, [])
    t.ok(seen().length > TIMES, `${seen().length} requests were seen`)
    t.ok(
      seen().every(({ address }) => address === '127.0.0.1'),
      'each with its address',
    )
  })
