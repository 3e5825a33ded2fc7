import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { bearer, post, rawRequest } from '../support/client.ts'
import { withoutPrlimit } from '../support/descriptors.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { refused } from '../support/realtime.ts'

t.setTimeout(60_000)
const CHAT = '/v1/chat/completions'
const FILES = 160
const skip = withoutPrlimit()

/** A gateway that may open few files, and two providers for its model. */
async function openScene(test: Test, host = '127.0.0.1') {
  const [one, two] = [await startProvider(test, { host }), await startProvider(test)]
  const gateway = await startGateway(test, {
    mostFiles: FILES,
    modelsFile: modelsFile(test, {
      providers: { one: one.url, two: two.url },
      models: { m: ['one', 'two'] },
    }),
    env: { ...providerKeys('one', 'two'), RATE_LIMIT_PER_MINUTE: '100000', WS_SOCKETS_PER_TOKEN: '1000' },
  })
  const token = await mintToken(test, gateway)
  const ask = () => post(gateway, CHAT, { model: 'm', messages: [] }, bearer(token))
  return { one, two, gateway, token, ask }
}

/** Clients that come and say nothing, as many as the gateway takes and some more; the last one's end tells that all are in. */
async function crowd(test: Test, { port }: TestGateway, count: number): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => undefined))
  test.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  const last = sockets.at(-1)
  if (last && !last.destroyed) await once(last.resume(), 'close')
  return sockets
}

t.test('a start that may open few files is told so', { skip }, async (test) => {
  const { gateway } = await openScene(test)
  const line = await gateway.waitForLine(({ msg }) => /may open few files/.test(msg))
  test.match(line, { level: 'warn', limit: FILES, way: /ulimit -n, systemd LimitNOFILE=, Docker --ulimit/ })
})

t.test('clients beyond the limit are told 503, and come back', { skip }, async (test) => {
  const { gateway, ask, token, one, two } = await openScene(test)
  test.equal((await ask()).status, 200)
  const sockets = await crowd(test, gateway, 2 * FILES)
  const fresh = (path: string) =>
    rawRequest(gateway.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n\r\n`)
  // Whatever was set free meanwhile is taken again.
  const again = async () => sockets.push(...(await crowd(test, gateway, 30)))
  await again()
  const upgrade = await refused(test, { url: `${gateway.url}/v1/realtime?model=m`, token })
  test.equal(upgrade.status, 503)
  for (let count = 0; count < 3; count++) {
    await again()
    const reply = await fresh('/v1/models')
    test.match(reply, /^HTTP\/1.1 503 /)
    test.match(reply, /\r\nretry-after: \d+\r\n/)
    test.match(reply, /\r\nconnection: close\r\n(?:.|\r\n)*"gateway_busy"/)
  }
  await waitUntil(
    () => fresh('/health'),
    (reply) => reply.startsWith('HTTP/1.1 200 '),
  )
  const line = await gateway.waitForLine(({ msg }) => /file descriptors are taken/.test(msg))
  test.match(line, { level: 'error', limit: FILES, way: /ulimit -n/ })
  for (const socket of sockets) socket.destroy()
  await waitUntil(ask, ({ status }) => status === 200)
  test.equal(one.requests.length, 2)
  test.equal(two.requests.length, 0)
  test.same(
    gateway.lines().filter(({ msg }) => msg === 'provider failed'),
    [],
  )
})
