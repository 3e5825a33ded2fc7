import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { healthy } from '../support/answers.ts'
import { bearer } from '../support/client.ts'
import { ask } from '../support/scene.ts'
import { type Controlled, controlled } from '../support/stream-behaviours.ts'
import { DOMAINS, untilHealthy } from './support/deployment.ts'
import { type Edge, inspect, openEdge, untilCertified, untilServing } from './support/edge.ts'
import { findComposes, whyNoEngine } from './support/engine.ts'
import { startLoad } from './support/load.ts'
import { poll, run } from './support/shell.ts'
import { visitor } from './support/visitor.ts'

const NAME = 'api-gateway-prod'
const NEXT = `${NAME}-next`
const IMAGE = 'api-gateway'

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else
  for (const [index, compose] of (await findComposes()).entries())
    await t.test(
      `${compose.join(' ')}: the one gateway on files is replaced under load`,
      { timeout: 600_000 },
      (t) => testUpgrade(t, { compose, isFirst: index === 0 }),
    )

function imageOf(container: string): Promise<unknown> {
  return inspect(container, '.Image')
}
function idOf(tag: string): Promise<unknown> {
  return inspect(`${IMAGE}:${tag}`, '.Id')
}

/** Another image than before. */
function change({ folder }: Edge, words: string): void {
  appendFileSync(join(folder, 'src', 'errors.ts'), `// ${words}\n`)
}

/** The script's own words; whether it has ended well. */
async function upgrade({ shell }: Edge, line = ''): Promise<{ isDone: boolean; said: string }> {
  const written = await shell(`sh scripts/upgrade.sh ${line} 2>&1 || echo FAILED`)
  // Docker writes its progress over itself, which ends a line of TAP.
  const said = written.replaceAll('\r', '\n')
  return { isDone: !said.includes('FAILED'), said }
}

/** A stream through the edge that has begun, and what came of it in the end. */
async function beginStream(
  edge: Edge,
  token: string,
): Promise<{ running: Controlled; end(): Promise<string> }> {
  const running = controlled()
  edge.provider.queue(running)
  const guest = visitor(edge.authority.root)
  const sent = { path: '/v1/chat/completions', headers: bearer(token), body: ask(true) }
  const stream = await guest.open(DOMAINS[0] ?? '', sent)
  await running.write('data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n')
  const rest = stream.rest()
  const end = async () => {
    await running.write('data: {"choices":[{"index":0,"delta":{"content":"two"}}]}\n\ndata: [DONE]\n\n')
    await running.end()
    const { text, cut } = await rest
    return cut ? `cut: ${text}` : text
  }
  return { running, end }
}

function untilDraining(container: string): Promise<true> {
  return poll(
    'the first gateway to leave',
    async () => {
      const { stdout } = await run('docker', ['logs', '--tail', '400', container])
      return stdout.includes('"draining"') || undefined
    },
    { timeoutMs: 120_000 },
  )
}

async function checkBooks(t: Test, edge: Edge, token: string): Promise<void> {
  const reply = await edge.guest.ask(DOMAINS[0] ?? '', { path: '/v1/token', headers: bearer(token) })
  const { credited, balance, held, charged } = reply.json().credits
  t.equal(held, 0, 'nothing is held any more')
  t.ok(Math.abs(credited - balance - charged) < 1e-6)
  const { stdout } = await run('docker', ['exec', NAME, 'node', 'scripts/ledger-check.js'])
  t.match(stdout, /./, stdout)
}

async function checkTidy(t: Test, { folder }: Edge): Promise<void> {
  t.equal((await run('docker', ['inspect', NEXT])).code, 1, 'the container for the moment is gone')
  t.notMatch(readFileSync(join(folder, 'edge/routes.yml'), 'utf8'), /for the moment/)
}

async function testUpgrade(t: Test, { compose, isFirst }: { compose: string[]; isFirst: boolean }) {
  const edge = await openEdge(t, { compose })
  t.teardown(() =>
    run('sh', [
      '-c',
      `docker rm -f ${NEXT}; docker rmi ${IMAGE}:prod-previous ${IMAGE}:prod-$(cd ${edge.folder} && git rev-parse --short HEAD)`,
    ]),
  )
  await edge.shell(
    'git init -q && git add Dockerfile && git -c user.name=a -c user.email=a@b.c commit -qm one',
  )
  await edge.compose('up -d --build')
  await untilHealthy(NAME)
  const token = await edge.mint()
  await untilCertified(edge.guest)
  await untilServing(edge, token)
  edge.provider.answer(healthy())
  const first = await imageOf(NAME)

  await t.test(
    'a new image: no request is refused, the running stream is whole, the books are right',
    async (t) => {
      const { end } = await beginStream(edge, token)
      const load = startLoad(edge, token)
      change(edge, 'a new release')
      const draining = untilDraining(NAME)
      const upgraded = upgrade(edge)
      await draining
      t.match(await end(), /one.*two.*DONE/s)
      const { isDone, said } = await upgraded
      t.ok(isDone, said)
      const { sent, failed } = await load.end()
      t.comment(`${sent} requests meanwhile, ${failed.length} refused\n${said}`)
      t.ok(sent > 400)
      t.same(failed, [])
      t.not(await imageOf(NAME), first)
      t.equal(await idOf('prod-previous'), first)
      const commit = (await edge.shell('git rev-parse --short HEAD')).trim()
      t.equal(await idOf(`prod-${commit}`), await imageOf(NAME), 'the image has the name of its commit')
      await checkTidy(t, edge)
      await checkBooks(t, edge, token)
    },
  )

  await t.test('--rollback: the image of before, the same way', async (t) => {
    const load = startLoad(edge, token)
    const { isDone, said } = await upgrade(edge, '--rollback')
    t.ok(isDone, said)
    const { failed } = await load.end()
    t.same(failed, [])
    t.equal(await imageOf(NAME), first)
    await checkTidy(t, edge)
  })

  // What does not depend on how Compose replaces a container.
  if (!isFirst) return
  await t.test('an image that does not start: the running service is not touched', async (t) => {
    const before = await inspect(NAME, '.Id')
    const server = join(edge.folder, 'src', 'process.ts')
    const whole = readFileSync(server, 'utf8')
    writeFileSync(server, `if (process.env.STORE_TAKEOVER) process.exit(3)\n${whole}`)
    const load = startLoad(edge, token)
    const { isDone, said } = await upgrade(edge)
    t.notOk(isDone)
    t.match(said, /serves on as it was/)
    t.same((await load.end()).failed, [])
    t.equal(await inspect(NAME, '.Id'), before)
    t.equal(await idOf('prod'), first, 'nor does a later "up -d" take the broken one')
    writeFileSync(server, whole)
    await checkTidy(t, edge)
  })

  await t.test('killed in the middle: run again, it comes to its end', async (t) => {
    change(edge, 'a second release')
    const load = startLoad(edge, token)
    // Where two gateways are there and Traefik asks the second one.
    await edge.shell(`setsid sh scripts/upgrade.sh > cut.log 2>&1 & pid=$!
      until grep -q 'replacing' cut.log; do sleep 0.2; done
      sleep 1; /bin/kill -9 -- -$pid`)
    const { isDone, said } = await upgrade(edge)
    t.ok(isDone, said)
    t.match(said, /cut short/)
    t.same((await load.end()).failed, [])
    t.equal((await edge.chat(token)).status, 200)
    await checkTidy(t, edge)
    await checkBooks(t, edge, token)
  })

  await t.test(
    'a gateway of a release that hands nothing over is stopped first, and it is said',
    async (t) => {
      await run('docker', ['exec', NAME, 'rm', 'src/db/guests.sock'])
      const { isDone, said } = await upgrade(edge)
      t.ok(isDone, said)
      t.match(said, /hands nothing over: the old one is stopped/)
      await untilServing(edge, token)
    },
  )
}
