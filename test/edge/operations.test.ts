import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { bearer, type Reply } from '../support/client.ts'
import { DASHBOARD, DOMAINS, untilHealthy } from './support/deployment.ts'
import { type Edge, openEdge, untilCertified, untilServing } from './support/edge.ts'
import { CLIENT_ADDRESSES, EDGE_ADDRESS, nodeImage, whyNoEngine } from './support/engine.ts'
import { output, poll } from './support/shell.ts'
import { tlsFindings } from './support/tls-check.ts'
import { visitor } from './support/visitor.ts'

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('the edge in use', testOperations)

async function testOperations(t: Test) {
  const edge = await openEdge(t)
  const { guest, compose, authority } = edge
  const [first = '', second = ''] = DOMAINS
  await compose('up -d --build')
  await untilHealthy('api-gateway-prod')
  const token = await edge.mint()
  await untilCertified(guest)
  await untilServing(edge, token)
  const login = (password: string, path = '/dashboard/', from = guest) =>
    from.ask(DASHBOARD, {
      path,
      headers: password === '' ? {} : { authorization: `Basic ${btoa(`admin:${password}`)}` },
    })

  await t.test('without a password of its own the dashboard stays shut and the API goes on', async (t) => {
    for (const password of ['', 'change_this_password', 'admin'])
      t.equal((await login(password)).status, 404, 'there is no default')
    t.equal((await edge.chat(token)).status, 200)
  })

  let password = ''
  await t.test('the dashboard opens to its password alone: 401, 401, 200', async (t) => {
    password = await compose('run --rm -T prepare node scripts/dashboard-password.js')
    t.match(password, /^[\w-]{32}$/)
    await compose('up -d --force-recreate traefik')
    await poll('the dashboard to ask', async () => {
      const reply = await login('').catch(() => undefined)
      return reply?.status === 401 || undefined
    })
    t.equal((await login('wrong')).status, 401)
    const page = await login(password)
    t.equal(page.status, 200)
    t.match(page.text, /<html/i)
    t.match((await login(password, '/api/http/routers')).text, 'api-gateway-domain5@file')
    t.equal((await login('', '/api/rawdata')).status, 401, 'nor its API without')
  })

  await t.test('who guesses is slowed down, and only who guesses', async (t) => {
    const guesses = await Promise.all(Array.from({ length: 150 }, (_, n) => login(`guess-${n}`)))
    const counted = Map.groupBy(guesses, ({ status }) => status)
    t.same([...counted.keys()].sort(), [401, 429])
    t.ok((counted.get(401)?.length ?? 0) < 80, `${counted.get(401)?.length} were looked at`)
    const elsewhere = visitor(authority.root, CLIENT_ADDRESSES[1])
    t.equal((await login(password, '/dashboard/', elsewhere)).status, 200)
  })

  await t.test('an allow-list shuts the dashboard to every other address, not the API', async (t) => {
    edge.set({ DASHBOARD_ALLOWLIST: `203.0.113.0/24,${CLIENT_ADDRESSES[1]}` })
    await compose('up -d')
    await untilServing(edge, token)
    t.equal((await login(password)).status, 403)
    const inside = visitor(authority.root, CLIENT_ADDRESSES[1])
    t.equal((await login(password, '/dashboard/', inside)).status, 200)
  })

  await t.test(
    'backup under load, wipe, restore: the same tokens, the same balances, the same certificates',
    async (t) => {
      const account = () => guest.ask(first, { path: '/v1/token', headers: bearer(token) })
      const [before, serials] = [(await account()).json().credits, await untilCertified(guest)]
      t.ok(before.charged > 0)
      const load = startChatting(edge, token)
      const backup = await edge.shell('sh scripts/backup.sh --keep 3')
      const statuses = await load.end()
      t.ok(statuses.length >= 10, `${statuses.length} asked meanwhile`)
      t.same([...new Set(statuses)], [200], 'nobody was refused')
      t.equal(await edge.shell(`stat -c %a ${backup}`), '600')
      t.match(await edge.shell(`sh scripts/restore.sh --check ${backup}`), /^whole: \d+ tokens/)
      const running = await edge.shell(`sh scripts/restore.sh ${backup} 2>&1 || echo "code $?"`)
      t.match(running, /this deployment runs.*code 1/s)
      await compose('down')
      await edge.shell('rm -rf src/db letsencrypt .env edge/dashboard-users')
      const restored = await edge.shell(`sh scripts/restore.sh ${backup}`)
      t.match(restored, /Now: docker-compose -f docker-compose\.prod\.yml up -d/)
      t.equal(
        await edge.shell(
          'stat -c %u:%a src/db src/db/tokens.json letsencrypt/acme.json | sort -u | paste -sd " "',
        ),
        '1000:600 1000:700',
      )
      await compose('up -d')
      await untilServing(edge, token)
      const after = (await account()).json().credits
      t.equal(after.charged > before.charged, true)
      t.equal(after.credited, before.credited)
      t.same(await untilCertified(guest), serials)
      t.match(await compose('exec -T api-gateway node scripts/ledger-check.js'), /credited = balance/)
    },
  )

  await t.test('what runs outlasts a long freeze of the gateway, and all is well by itself after it', (t) =>
    testFreeze(t, edge, token),
  )

  await t.test('a changed domain gets its certificate; the others keep theirs', async (t) => {
    const kept = await untilCertified(guest, DOMAINS.slice(0, 4))
    edge.set({ DOMAIN5: 'moved.example.test' })
    await compose('up -d')
    await untilCertified(guest, ['moved.example.test'])
    t.same(await untilCertified(guest, DOMAINS.slice(0, 4)), kept)
    t.equal((await edge.chat(token, 'moved.example.test')).status, 200)
  })

  await t.test('the next authority makes all certificates anew once the store is dropped', async (t) => {
    const names = [...DOMAINS.slice(0, 4), DASHBOARD]
    const staged = await untilCertified(guest, names)
    await edge.shell('$COMPOSE stop traefik && rm letsencrypt/acme.json')
    await compose('up -d')
    const real = await untilCertified(guest, names)
    t.ok(real.every((serial) => !staged.includes(serial)))
    await untilServing(edge, token)
  })

  await t.test('the other commands of the guide work as written', async (t) => {
    t.match(await compose('exec -T api-gateway curl localhost:8088'), /"code":"not_found"/)
    t.match(await compose('exec -T api-gateway curl -fsS localhost:8088/ready'), /"ready"/)
    t.match(await compose('logs --no-color api-gateway | grep -i listening'), /8088/)
    t.match(await compose('logs --no-color traefik | grep -i certificate'), /acme/)
    const metrics = await edge.shell('docker exec api-gateway-prod curl -fsS http://traefik:8082/metrics')
    t.match(metrics, /traefik_tls_certs_not_after\{.*cn="api\.example\.test"/)
    t.match(await edge.shell('du -sh ./letsencrypt ./src/logs ./src/db'), /src\/db/)
    t.match(await edge.shell('tail -n 3 src/logs/server.*.log'), /"msg"/)
    const check = `NODE_IMAGE=${(await nodeImage()) ?? ''} sh scripts/preflight.sh`
    t.match(
      await edge.shell(`${check} --address ${EDGE_ADDRESS} --resolver ${EDGE_ADDRESS}:8053`),
      /ready for "up -d"/,
    )
    await compose('up -d --build')
    await untilServing(edge, token)
  })

  await t.test('TLS has no finding above low', async (t) => {
    t.same(await tlsFindings(second), [])
  })

  await t.test('a request whose first dial fails is answered all the same, and sent once', (t) =>
    testRetry(t, edge, token),
  )
}

/** One after the other, until the end. */
function startChatting(edge: Edge, token: string) {
  const statuses: number[] = []
  let isOver = false
  const chatting = (async () => {
    while (!isOver) statuses.push((await edge.chat(token)).status)
  })()
  return {
    end: async () => {
      isOver = true
      await chatting
      return statuses
    },
  }
}

async function testFreeze(t: Test, edge: Edge, token: string) {
  await output('docker', ['pause', 'api-gateway-prod'])
  const asked: Promise<Reply>[] = []
  await poll('Traefik to notice', async () => {
    const reply = edge.chat(token)
    asked.push(reply)
    return (await Promise.race([reply, sleep(200)]))?.status === 503 || undefined
  })
  await output('docker', ['unpause', 'api-gateway-prod'])
  const statuses = (await Promise.all(asked)).map(({ status }) => status)
  t.equal(statuses[0], 200, 'it has waited')
  t.same([...new Set(statuses)], [200, 503])
  await untilServing(edge, token)
  await untilHealthy('api-gateway-prod')
}

async function testRetry(t: Test, edge: Edge, token: string) {
  // A second address where nobody listens, and no health check that would find that out.
  const second = 's|- url: http://api-gateway:8088|&\\n          - url: http://api-gateway:8089|'
  await edge.shell(`sed -i -e '${second}' -e '/healthCheck:/d' edge/routes.yml`)
  const failedDials = async () => {
    const metrics = await edge.shell('docker exec api-gateway-prod curl -fsS http://traefik:8082/metrics')
    const [, count = 0] =
      /^traefik_service_requests_total\{code="502",method="POST".*\} (\d+)$/m.exec(metrics) ?? []
    return Number(count)
  }
  const [sent, before] = [edge.provider.requests.length, await failedDials()]
  const statuses: number[] = []
  await poll('five dials that fail', async () => {
    statuses.push((await edge.chat(token)).status)
    return (await failedDials()) >= before + 5 || undefined
  })
  t.same([...new Set(statuses)], [200])
  t.equal(edge.provider.requests.length - sent, statuses.length)
}
