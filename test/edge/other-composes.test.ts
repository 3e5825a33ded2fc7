import t, { type Test } from 'tap'
import { untilHealthy } from './support/deployment.ts'
import { openEdge, untilCertified, untilServing } from './support/edge.ts'
import { findComposes, whyNoEngine } from './support/engine.ts'
import { shell } from './support/shell.ts'

const reason = await whyNoEngine()
const [first = [], ...others] = await findComposes()
if (reason !== undefined) t.plan(0, reason)
else if (others.length === 0) t.plan(0, 'one Compose here: the edge runs under that one alone')

for (const compose of reason === undefined ? others : [])
  await t.test(`${compose.join(' ')} runs the edge, stops it and takes it over`, (t) =>
    testCompose(t, compose),
  )

async function testCompose(t: Test, compose: readonly string[]) {
  const edge = await openEdge(t, { compose })
  // Building under Compose 2 needs Docker's buildx: the image is made by the other one.
  const build = edge.shell(`${first.join(' ')} \${COMPOSE#${compose.join(' ')}} build -q`)
  await build
  await edge.compose('up -d')
  await Promise.all(
    ['api-gateway-prod', 'certificates-prod', 'haproxy-prod', 'traefik-prod'].map(untilHealthy),
  )
  const ps = await edge.compose('ps')
  t.match(ps, 'api-gateway-prod')
  t.notMatch(ps, 'prepare', 'what has ended is not shown')
  const token = await edge.mint()
  await untilCertified(edge.guest)
  t.equal((await untilServing(edge, token)).status, 200)
  await edge.compose('pause api-gateway')
  await edge.compose('unpause api-gateway')
  await edge.compose('down')
  t.equal(await shell('docker ps -aq --filter label=com.docker.compose.project=gateway-edge-test'), '')
  await edge.compose('up -d')
  t.equal((await untilServing(edge, token)).status, 200, 'with the same tokens')
}
