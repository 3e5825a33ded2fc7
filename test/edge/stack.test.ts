import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bearer } from '../support/client.ts'
import { ask } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'
import { ALL_NAMES, DOMAINS, untilHealthy } from './support/deployment.ts'
import { inspect, openEdge, untilCertified, untilServing } from './support/edge.ts'
import { CLIENT_ADDRESSES, EDGE_ADDRESS, WRONG_ADDRESS, whyNoEngine } from './support/engine.ts'
import { commandsBelow } from './support/guide.ts'
import { output, poll } from './support/shell.ts'
import { visitor } from './support/visitor.ts'

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('the edge on its first day', testEdge)

async function testEdge(t: Test) {
  const edge = await openEdge(t)
  const { guest, compose, authority, provider } = edge
  const [first = '', second = '', third = ''] = DOMAINS
  let token = ''

  await t.test('from a clone to the first answer: one command, whoever made the folders', async (t) => {
    await authority.point(third, WRONG_ADDRESS)
    // As Docker makes them when they are missing: root's, closed to the gateway's user.
    mkdirSync(join(edge.folder, 'src/db'), { mode: 0o700 })
    // As git makes them under umask 077.
    await edge.shell('chmod -R go= edge scripts src package.json')
    // Nothing is built yet: "up" has to do it.
    await edge.shell('docker rmi -f api-gateway:prod')
    await compose('up -d')
    await Promise.all(
      ['api-gateway-prod', 'certificates-prod', 'haproxy-prod', 'traefik-prod'].map(untilHealthy),
    )
    t.match(await compose('ps'), /api-gateway-prod.*certificates-prod.*haproxy-prod.*traefik-prod/s)
    t.match(await edge.shell(commandsBelow('**Read the master token now**')), /gw-[\w-]{40,}/)
    token = await edge.mint()
    t.match(token, /^gw-[\w-]{40,}$/, 'the secret alone')
    await untilCertified(guest, [first])
    const reply = await untilServing(edge, token)
    t.match(reply.json(), { object: 'chat.completion' })
  })

  await t.test('five names get their certificates while the sixth points elsewhere', async (t) => {
    const others = ALL_NAMES.filter((name) => name !== third)
    const before = await untilCertified(guest, others)
    t.equal(await guest.certificate(third), undefined, 'no certificate is made up for it')
    for (const name of others) {
      const certificate = await guest.certificate(name)
      t.equal(certificate?.subjectaltname, `DNS:${name}`, 'one name each')
      t.equal(certificate?.asn1Curve, 'prime256v1')
    }
    await authority.point(third, EDGE_ADDRESS)
    // Nothing is restarted: it is looked at once a minute at least.
    await untilCertified(guest, [third], 120_000)
    await compose('restart traefik')
    t.same(await untilCertified(guest, others), before, 'a restart keeps the others')
    t.match(await edge.shell('stat -c %a letsencrypt/acme.json'), '600')
    await untilServing(edge, token)
  })

  await t.test('plain HTTP is redirected for every name, with path and query', async (t) => {
    for (const name of ALL_NAMES) {
      const path = '/v1/models/maker%2Fm?limit=1&after=a%20b'
      for (const method of ['GET', 'POST', 'DELETE']) {
        const { status, headers } = await guest.plain(name, { method, path })
        t.ok(status === 301 || status === 308, `${method} ${status}`)
        t.equal(headers.location, `https://${name}${path}`)
      }
    }
  })

  await t.test('all five names serve the same gateway, with the headers of a careful edge', async (t) => {
    for (const name of DOMAINS) {
      const { status, headers } = await edge.chat(token, name)
      t.equal(status, 200)
      t.equal(headers['strict-transport-security'], 'max-age=31536000')
      t.equal(headers['x-content-type-options'], 'nosniff')
      t.equal(headers['x-frame-options'], 'DENY')
      t.equal(headers['referrer-policy'], 'no-referrer')
    }
  })

  await t.test('an event of a stream is there before the next one is written', async (t) => {
    const running = controlled()
    provider.queue(running)
    const path = '/v1/chat/completions'
    const stream = await guest.open(second, { path, headers: bearer(token), body: ask(true) })
    const pieces = stream[Symbol.asyncIterator]()
    for (const word of ['one', 'two', 'three']) {
      await running.write(`data: {"choices":[{"index":0,"delta":{"content":"${word}"}}]}\n\n`)
      t.match((await pieces.next()).value?.bytes.toString(), word)
    }
    await running.write('data: [DONE]\n\n')
    await running.end()
    t.match((await pieces.next()).value?.bytes.toString(), 'DONE')
    t.equal((await pieces.next()).done, true)
  })

  await t.test('a model whose name holds an encoded slash is found', async (t) => {
    const reply = await guest.ask(first, { path: '/v1/models/maker%2Fm', headers: bearer(token) })
    t.equal(reply.status, 200)
    t.match(reply.json(), { id: 'maker/m' })
  })

  await t.test('the gateway sees the client and believes no forged address', async (t) => {
    for (const address of CLIENT_ADDRESSES) {
      const forged = {
        'x-forwarded-for': '203.0.113.66',
        'x-real-ip': '203.0.113.66',
        x_forwarded_for: '203.0.113.66',
      }
      const requestId = `from-${address.replaceAll('.', '-')}`
      const headers = {
        ...bearer(token),
        ...forged,
        forwarded: 'for=203.0.113.66',
        'x-request-id': requestId,
      }
      await visitor(authority.root, address).ask(first, { path: '/v1/token', headers })
      const line = await poll('the log line', async () =>
        (await output('docker', ['logs', 'api-gateway-prod']))
          .split('\n')
          .find((text) => text.includes(requestId)),
      )
      t.equal(JSON.parse(line).address, address)
    }
  })

  await t.test('no line of the access log holds a header or a query string', async (t) => {
    const headers = { 'x-api-key': 'planted-in-header', 'user-agent': 'planted-in-agent' }
    await guest.ask(first, { path: '/v1/models?api_key=planted-in-query', headers })
    await guest.plain(first, { path: '/v1/models?key=planted-in-query', headers })
    const log = await poll('the access log', async () => {
      const text = await compose('logs --no-color traefik')
      return /"RequestPath":"\/v1\/models/.test(text) ? text : undefined
    })
    t.match(log, '"ClientHost":"198.18.5.7"', 'who came is in it')
    t.notMatch(log, 'planted')
    t.notMatch(log, token)
  })

  await t.test('only 80 and 443 are published, and the containers have no rights to spare', async (t) => {
    const label = 'label=com.docker.compose.project=$COMPOSE_PROJECT_NAME'
    const ids = (await edge.shell(`docker ps --format '{{.Names}}' --filter ${label}`)).split('\n')
    t.same(ids.sort(), ['api-gateway-prod', 'certificates-prod', 'haproxy-prod', 'traefik-prod'])
    const published: string[] = []
    for (const id of ids) {
      const ports = (await inspect(id, '.NetworkSettings.Ports')) as Record<
        string,
        { HostPort: string }[] | null
      >
      published.push(...Object.values(ports).flatMap((all) => (all ?? []).map(({ HostPort }) => HostPort)))
      t.match(await inspect(id, '.HostConfig'), {
        ReadonlyRootfs: true,
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges:true'],
        Privileged: false,
        LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '5' } },
      })
      t.notMatch(await inspect(id, '.HostConfig.Binds'), /docker\.sock/)
      t.equal((await output('docker', ['exec', id, 'id', '-u'])).trim(), '1000')
    }
    t.same(published.sort(), ['443', '80'])
  })

  await t.test('while no gateway runs clients are told to come back: 503, never 404', async (t) => {
    await compose('stop api-gateway')
    const reply = await poll('the edge to notice', async () => {
      const seen = await edge.chat(token)
      return seen.status === 503 ? seen : undefined
    })
    t.equal(reply.status, 503)
    await compose('start api-gateway')
    t.equal((await untilServing(edge, token)).status, 200)
  })
}
