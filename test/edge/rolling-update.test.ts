import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../support/gateway.ts'
import { clone, fillIn } from './support/deployment.ts'
import { run } from './support/shell.ts'

t.test('with one gateway alone a rolling update touches nothing and says why in one line', async (t) => {
  const folder = await clone(t)
  // Whatever it wants of Compose fails at once and says nothing.
  const update = (env: Record<string, string> = {}) =>
    run('sh', ['scripts/rolling-update.sh'], { cwd: folder, env: { COMPOSE: 'false', ...env } })
  const refusal = /^COMPOSE_PROFILES=scale is not in \.env: .*scripts\/upgrade\.sh\n$/
  for (const profiles of ['', 'other', 'scaled']) {
    fillIn(folder, { COMPOSE_PROFILES: profiles }, '.env.example')
    const { code, stdout, stderr } = await update()
    t.equal(code, 1)
    t.equal(stdout, '')
    t.match(stderr, refusal, profiles)
  }
  t.equal((await update({ COMPOSE_PROFILES: 'scale' })).stderr, '', 'the shell has the last word')
  for (const profiles of ['scale', '"other,scale"']) {
    fillIn(folder, { COMPOSE_PROFILES: profiles }, '.env.example')
    t.equal((await update()).stderr, '', profiles)
    t.match((await update({ COMPOSE_PROFILES: '' })).stderr, refusal, 'the shell has the last word')
  }
})

t.test('the gateways of a second stack are found by its name', async (t) => {
  const folder = await clone(t)
  const bin = temporaryFolder(t, 'gw-bin-')
  for (const program of ['docker', 'sleep']) writeFileSync(join(bin, program), '#!/bin/sh\n', { mode: 0o755 })
  fillIn(folder, { COMPOSE_PROFILES: 'scale', STACK_NAME: '"staging"   # beside production' }, '.env.example')
  const env = { COMPOSE: 'true', PATH: `${bin}:${process.env.PATH}` }
  const update = (more: Record<string, string> = {}) =>
    run('sh', ['scripts/rolling-update.sh'], { cwd: folder, env: { ...env, ...more } })
  t.match(
    (await update()).stdout,
    /^api-gateway-staging is.*\napi-gateway-staging-2 is.*\napi-gateway-staging-3 is/,
  )
  t.match((await update({ STACK_NAME: 'other' })).stdout, /^api-gateway-other is/)
  t.match((await update({ STACK_NAME: '' })).stdout, /^api-gateway-prod is/)
})

t.test('the scripts read a line of .env as Compose does, however it is written', async (t) => {
  const folder = await clone(t)
  const bin = temporaryFolder(t, 'gw-bin-')
  for (const program of ['docker', 'sleep']) writeFileSync(join(bin, program), '#!/bin/sh\n', { mode: 0o755 })
  const env = { COMPOSE: 'true', PATH: `${bin}:${process.env.PATH}` }
  for (const lines of [
    '\uFEFFSTACK_NAME=staging\r\nCOMPOSE_PROFILES=scale\r\n',
    '\uFEFFCOMPOSE_PROFILES=scale\nSTACK_NAME= staging\n',
    '  STACK_NAME=staging\n\tCOMPOSE_PROFILES=\tscale\n',
    'STACK_NAME=\nCOMPOSE_PROFILES=scale\nSTACK_NAME=staging',
    'STACK_NAME=\'staging\' # ours\nCOMPOSE_PROFILES= "scale"\n',
  ]) {
    writeFileSync(join(folder, '.env'), lines)
    const { stdout, stderr } = await run('sh', ['scripts/rolling-update.sh'], { cwd: folder, env })
    t.match(stdout, /^api-gateway-staging is.*\napi-gateway-staging-2 is/, JSON.stringify(lines) + stderr)
  }
})

/** Says of each container what an engine would on which three gateways run. */
const ENGINE = `#!/bin/sh
case "$*" in
  *-next) exit 1 ;;
  *State.Running*) echo true ;;
  *.Name*) echo /api-gateway-prod ;;
  *) echo an-answer ;;
esac
`

t.test('with replicas an update goes through all of them, however Compose is told so', async (t) => {
  const folder = await clone(t)
  const bin = temporaryFolder(t, 'gw-bin-')
  writeFileSync(join(bin, 'docker'), ENGINE, { mode: 0o755 })
  writeFileSync(join(bin, 'sleep'), '#!/bin/sh\n', { mode: 0o755 })
  const env = { COMPOSE: 'echo', PATH: `${bin}:${process.env.PATH}` }
  for (const profiles of [
    'scale',
    '"monitoring,scale"',
    'scale   # three gateways',
    'monitoring,scale # both',
  ]) {
    fillIn(folder, { COMPOSE_PROFILES: profiles }, '.env.example')
    const { code, stdout, stderr } = await run('sh', ['scripts/upgrade.sh'], { cwd: folder, env })
    t.equal(code, 0, `${profiles}: ${stderr}`)
    t.match(stdout, /prod is updated.*prod-2 is updated.*prod-3 is updated/s, profiles)
  }
})
