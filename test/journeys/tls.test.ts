import t from 'tap'
import { chat } from '../support/answers.ts'
import { authorityFile, makeCertificates } from '../support/certificates.ts'
import { bearer, post } from '../support/client.ts'
import * as faults from '../support/faults.ts'
import { temporaryFolder } from '../support/gateway.ts'
import { startJourney } from '../support/journey.ts'
import { startProvider } from '../support/provider.ts'

const CHAT = '/v1/chat/completions'
const certificates = await makeCertificates()
const { expired, good, selfSigned, wrongName } = certificates
const BAD = ['selfsigned', 'wrongname', 'expired'] as const
const after = (...names: string[]) => names.map((provider) => ({ provider }))

const models = {
  ...Object.fromEntries(BAD.map((name) => [name, { plan: after(name, 'good') }])),
  alone: { plan: after(...BAD) },
  good: { plan: after('good') },
  redirected: { plan: after('good', 'plain') },
}
const servers = {
  selfsigned: { tls: selfSigned, host: 'localhost' },
  wrongname: { tls: wrongName, host: 'localhost' },
  expired: { tls: expired, host: 'localhost' },
  good: { tls: good, host: 'localhost' },
}

t.test('with the authority trusted, a good certificate is spoken to and no bad one is', async (t) => {
  const { gateway, providers, token } = await startJourney(t, {
    providers: [...BAD, 'good', 'plain'],
    servers,
    models,
    env: { NODE_EXTRA_CA_CERTS: authorityFile(temporaryFolder(t), certificates) },
  })
  const ask = (model: string) => post(gateway, CHAT, { model }, bearer(token))
  t.match(await ask('good'), { status: 200, headers: { 'x-gateway-provider': 'good' } })
  t.match(providers.good.requests[0], { headers: { authorization: 'Bearer key-of-good' } })
  for (const name of BAD) {
    const reply = await ask(name)
    t.match(
      reply,
      { status: 200, headers: { 'x-gateway-provider': 'good', 'x-gateway-attempts': '2' } },
      name,
    )
    t.ok(providers[name].connections > 0, 'it was dialled')
    t.equal(providers[name].requests.length, 0, 'no request, and so no key, arrived')
  }
  const refused = await ask('alone')
  t.match(refused, { status: 502 })
  t.match(refused.json(), { error: { code: 'upstream_failed' } })
  t.notMatch(refused.text, /certificate|localhost|CERT/i)
})

t.test('without it nobody is spoken to', async (t) => {
  const { gateway, providers, token } = await startJourney(t, {
    providers: [...BAD, 'good', 'plain'],
    servers,
    models,
  })
  t.match(await post(gateway, CHAT, { model: 'good' }, bearer(token)), { status: 502 })
  t.equal(providers.good.requests.length, 0)
})

t.test('an authority is trusted in the quotes that docker run --env-file leaves as well', async (t) => {
  const { gateway, token } = await startJourney(t, {
    providers: ['good'],
    servers: { good: servers.good },
    models: { good: models.good },
    env: { NODE_EXTRA_CA_CERTS: `"${authorityFile(temporaryFolder(t), certificates)}"` },
  })
  t.match(await post(gateway, CHAT, { model: 'good' }, bearer(token)), { status: 200 })
})

t.test('a redirect is followed nowhere, least of all to plain HTTP', async (t) => {
  const elsewhere = await startProvider(t)
  const { gateway, providers, token } = await startJourney(t, {
    providers: ['good', 'plain'],
    servers: { good: servers.good },
    models: { redirected: models.redirected },
    env: { NODE_EXTRA_CA_CERTS: authorityFile(temporaryFolder(t), certificates) },
  })
  for (const code of [301, 302, 303, 307, 308]) {
    providers.good.queue(faults.redirect(`${elsewhere.url}/chat/completions`, code))
    providers.plain.queue(chat())
    const reply = await post(gateway, CHAT, { model: 'redirected' }, bearer(token))
    t.match(reply, { status: 200, headers: { 'x-gateway-provider': 'plain', location: undefined } })
  }
  t.equal(elsewhere.connections, 0)
})
