import t from 'tap'
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
