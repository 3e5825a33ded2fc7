import { once } from 'node:events'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { ALL_NAMES, DOMAINS, untilHealthy } from './support/deployment.ts'
import { openEdge, untilCertified, untilServing } from './support/edge.ts'
import { EDGE_ADDRESS, WRONG_ADDRESS, whyNoEngine } from './support/engine.ts'
import { poll } from './support/shell.ts'

/** What are two minutes for Let's Encrypt, so that ten minutes pass in one; 120 by hand: as it is in production. */
const RETRY_SECONDS = Number(process.env.EDGE_RETRY_SECONDS ?? 12)
const TEN_MINUTES_MS = 5 * RETRY_SECONDS * 1000
/** An order takes a while to become a check, on a busy machine longer: orders wait in whole units of RETRY_SECONDS. */
const SLACK_MS = (RETRY_SECONDS * 1000) / 2

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('certificates heal by themselves', testCertificates)

async function testCertificates(t: Test) {
  const edge = await openEdge(t, { certificates: { CERTIFICATE_RETRY_SECONDS: `${RETRY_SECONDS}` } })
  const { guest, compose, authority } = edge
  const [first = '', , third = '', , fifth = ''] = DOMAINS
  const good = ALL_NAMES.filter((name) => name !== third && name !== fifth)
  // One record is wrong for everybody. Of another only the authority knows that it is wrong.
  await authority.point(third, WRONG_ADDRESS)
  await authority.mislead(fifth, WRONG_ADDRESS)
  await startStranger(t)
  await compose('up -d --build')
  await Promise.all(['api-gateway-prod', 'certificates-prod', 'traefik-prod'].map(untilHealthy))
  const token = await edge.mint()
  let serials: string[] = []

  await t.test('the names that point here have theirs at once, one order each', async (t) => {
    serials = await untilCertified(guest, good)
    for (const name of good) t.equal(authority.checks(name), 1, name)
    t.equal(await guest.certificate(third), undefined)
    t.equal(await guest.certificate(fifth), undefined)
    await untilServing(edge, token)
  })

  await t.test('a name that points elsewhere is never ordered, and the log says what to do', async (t) => {
    const line = `${third}: points to ${WRONG_ADDRESS}, which is not this server: correct the DNS record`
    await poll('the line', async () => (await edge.notes()).includes(line) || undefined)
    const states = await poll('the certificate to be noticed', async () => {
      const all = JSON.parse(await compose('exec -T certificates curl -s localhost:8089/names'))
      return /^has its certificate, valid until/.test(all[first]) ? all : undefined
    })
    t.match(states[third], 'which is not this server')
  })

  await t.test('restarts and repeated "up" burn no attempts: at most two in ten minutes', async (t) => {
    const end = performance.now() + TEN_MINUTES_MS - RETRY_SECONDS * 1000
    for (const command of ['up -d', 'restart certificates', 'up -d --force-recreate', 'restart traefik'])
      await compose(command)
    await untilServing(edge, token)
    const patience = { timeoutMs: 2 * TEN_MINUTES_MS }
    await poll('ten minutes to pass', async () => performance.now() > end || undefined, patience)
    t.equal(authority.checks(third), 0)
    t.ok(authority.checks(fifth) >= 1)
    // On a busy machine the commands above take longer than all of these minutes.
    const times = authority.checkTimesMs(fifth)
    for (const [index, at] of times.entries()) {
      const nextButOne = times[index + 2] ?? Number.POSITIVE_INFINITY
      t.ok(
        nextButOne - at >= TEN_MINUTES_MS - SLACK_MS,
        `checks after ${times.map((time) => (time - at) / 1000)} s`,
      )
    }
    t.match(
      await edge.notes(),
      new RegExp(`${fifth}: .* its order has brought no certificate: .*next order at`),
    )
    t.same(await untilCertified(guest, good), serials)
  })

  await t.test(
    'a record that is mended brings its certificate within two minutes, without a restart',
    async (t) => {
      const since = performance.now()
      await authority.point(third, EDGE_ADDRESS)
      await untilCertified(guest, [third], 120_000)
      t.comment(`after ${Math.round(performance.now() - since)} ms`)
      t.equal(authority.checks(third), 1)
      await authority.point(fifth, EDGE_ADDRESS)
      await untilCertified(guest, [fifth], 120_000)
      t.ok(authority.checks(fifth) <= 4, `${authority.checks(fifth)} checks in an hour`)
      t.same(await untilCertified(guest, good), serials, 'the others keep theirs')
      for (const name of good) t.equal(authority.checks(name), 1, name)
    },
  )

  await t.test('without that container everything goes on, also after a restart of Traefik', async (t) => {
    await compose('stop certificates')
    await compose('restart traefik')
    const reply = await untilServing(edge, token)
    t.equal(reply.status, 200)
    t.same(await untilCertified(guest, good), serials)
    t.equal((await edge.chat(token, third)).status, 200)
  })
}

/** Somebody else's server, as far away as real ones are. */
async function startStranger(t: Test) {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    setTimeout(() => socket.destroy(), 1000)
  })
  server.listen(443, WRONG_ADDRESS)
  await once(server, 'listening')
  t.teardown(() => server.close())
}
