import t, { type Test } from 'tap'
import { DASHBOARD, DOMAINS, untilHealthy } from './support/deployment.ts'
import { openEdge, untilCertified, untilServing } from './support/edge.ts'
import { whyNoEngine } from './support/engine.ts'

const [FIRST = '', SECOND = ''] = DOMAINS

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('with the settings of the first guide, and names that are one', testFirstGuide)

async function testFirstGuide(t: Test) {
  // Three of the five are one name, whatever its case, and one is none; the authority asks on port 80.
  const settings = {
    DOMAIN2: FIRST.toUpperCase(),
    DOMAIN3: '',
    DOMAIN4: SECOND,
    DOMAIN5: FIRST,
    ACME_EMAIL: '',
    LETSENCRYPT_EMAIL: 'admin@example.test',
    ACME_CHALLENGE: 'http',
  }
  const edge = await openEdge(t, { settings })
  await edge.compose('up -d --build')
  await untilHealthy('api-gateway-prod')
  const token = await edge.mint()
  const names = [FIRST, SECOND, DASHBOARD]
  await untilCertified(edge.guest, names)
  t.equal((await untilServing(edge, token)).status, 200)
  t.equal((await edge.chat(token, SECOND)).status, 200)
  t.match(edge.authority.said(), /validate w\/ HTTP: http:/, 'the authority has asked over plain HTTP')
  for (const name of names) t.equal(edge.authority.checks(name), 1, `${name} was ordered once`)
  const log = await edge.compose('logs --no-color traefik')
  t.notMatch(log, /"level":"error".*api-gateway-domain/, 'no route is made twice, and none for nothing')
  const redirected = await edge.guest.plain(FIRST, { path: '/v1/models?limit=1' })
  t.equal(redirected.headers.location, `https://${FIRST}/v1/models?limit=1`, 'all else is redirected')
}
