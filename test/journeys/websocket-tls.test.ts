import t from 'tap'
import { authorityFile, makeCertificates } from '../support/certificates.ts'
import { startEcho } from '../support/echo.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { open, refused, startRealtime } from '../support/realtime.ts'
import { done, echoUsage } from '../support/realtime-scene.ts'
import type { Owner } from '../support/waiting.ts'

const certificates = await makeCertificates()
const { expired, good, selfSigned, wrongName } = certificates
const BAD = { selfsigned: selfSigned, wrongname: wrongName, expired }
const BAD_NAMES = Object.keys(BAD)

/** A realtime provider and a service for each certificate, before a gateway that trusts their authority (or not). */
async function scene(t: Owner, isTrusted: boolean) {
  const all = Object.entries({ good, ...BAD })
  const services = await Promise.all(
    all.map(async ([name, tls]) => [name, await startEcho(t, { tls })] as const),
  )
  const started = await Promise.all(
    all.map(async ([name, tls]) => [name, await startRealtime(t, { ...echoUsage(10, 5), tls })] as const),
  )
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, {
      providers: Object.fromEntries(started.map(([name, { url }]) => [name, url])),
      models: {
        good: 'good',
        alone: BAD_NAMES,
        ...Object.fromEntries(BAD_NAMES.map((name) => [name, [name, 'good']])),
      },
    }),
    env: {
      ...providerKeys('good', ...BAD_NAMES),
      ...(isTrusted ? { NODE_EXTRA_CA_CERTS: authorityFile(temporaryFolder(t), certificates) } : {}),
      WS_ROUTES: services.map(([name, { port }]) => `/${name}=wss://localhost:${port}/ws`).join(),
    },
  })
  const token = await mintToken(t, gateway)
  return { gateway, token, providers: new Map(started), services: new Map(services) }
}

t.test('with the authority trusted, a good certificate is spoken to and no bad one is', async (t) => {
  const { gateway, token, providers, services } = await scene(t, true)
  const realtime = (model: string) => ({ url: `${gateway.url}/v1/realtime?model=${model}`, token })
  const client = await open(t, realtime('good'))
  client.send({ type: 'response.create' })
  await client.until('the answer', () => (done(client.events) === 1 ? true : undefined))
  t.equal(providers.get('good')?.seen[0]?.headers.authorization, 'Bearer key-of-good')
  for (const name of BAD_NAMES) {
    const { headers } = await open(t, realtime(name))
    t.match(headers, { 'x-gateway-provider': 'good', 'x-gateway-attempts': '2' }, name)
    t.equal(providers.get(name)?.seen.length, 0, 'no request, and so no key, arrived')
    t.ok((providers.get(name)?.connections() ?? 0) > 0, 'it was dialled')
  }
  const alone = await refused(t, realtime('alone'))
  t.equal(alone.status, 502)
  t.equal(JSON.parse(alone.body).error.code, 'upstream_failed')
  t.notMatch(alone.body, /certificate|localhost|CERT/i)

  const service = await open(t, { url: `${gateway.url}/good/room`, token })
  service.send({ type: 'hello' })
  await service.until('the echo', () => service.events.find(({ type }) => type === 'hello'))
  t.equal(services.get('good')?.seen[0]?.url, '/ws/room')
  for (const name of BAD_NAMES) {
    const seen = await refused(t, { url: `${gateway.url}/${name}`, token })
    t.equal(seen.status, 502, name)
    t.notMatch(seen.body, /certificate|localhost|CERT/i)
    t.equal(services.get(name)?.seen.length, 0)
    t.ok((services.get(name)?.connections() ?? 0) > 0, 'it was dialled')
  }
  const { credits } = await waitUntil(
    async () => {
      const answered = await fetch(`${gateway.url}/v1/token`, {
        headers: { authorization: `Bearer ${token}` },
      })
      return (await answered.json()) as { credits: Record<string, number> }
    },
    ({ credits: { charged } }) => charged === 15,
  )
  t.equal(credits.charged, 15, 'one response of 15 LLM tokens')
})

t.test('without it nobody is spoken to', async (t) => {
  const { gateway, token, providers, services } = await scene(t, false)
  const socket = await refused(t, { url: `${gateway.url}/v1/realtime?model=good`, token })
  t.equal(socket.status, 502)
  t.equal((await refused(t, { url: `${gateway.url}/good`, token })).status, 502)
  t.equal(providers.get('good')?.seen.length, 0)
  t.equal(services.get('good')?.seen.length, 0)
})
