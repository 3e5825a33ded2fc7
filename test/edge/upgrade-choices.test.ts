import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../support/gateway.ts'
import { clone, fillIn } from './support/deployment.ts'
import { run } from './support/shell.ts'

/** One gateway that runs and is ready, of the compose file that `FILE` names; what was asked is in the file `asked`. */
const DOCKER = `#!/bin/sh
echo "docker $*" >>"$ASKED"
case "$*" in
  *-next*) exit 1 ;;
  *config_files*) echo "$FILE" ;;
  *oneoff*) echo False ;;
  *.Name*) echo /api-gateway-prod ;;
  *.State.Running*) echo true ;;
  *) echo sha256:0123456789abcdef ;;
esac
`
const COMPOSE = `#!/bin/sh
echo "compose $*" >>"$ASKED"
case "$*" in *ps*) echo 0123456789ab ;; esac
`

/** What scripts/upgrade.sh says, and what it asked Docker and Compose for. */
async function upgrade(t: Test, profiles: string, file: string) {
  const folder = await clone(t)
  fillIn(folder, { COMPOSE_PROFILES: profiles }, '.env.example')
  const bin = temporaryFolder(t, 'gw-bin-')
  const programs = { docker: DOCKER, compose: COMPOSE, sleep: '#!/bin/sh\n' }
  for (const [name, text] of Object.entries(programs)) {
    writeFileSync(join(bin, name), text)
    chmodSync(join(bin, name), 0o755)
  }
  const asked = join(bin, 'asked')
  const env = { PATH: `${bin}:${process.env.PATH}`, COMPOSE: 'compose', ASKED: asked, FILE: file }
  const said = await run('sh', ['scripts/upgrade.sh'], { cwd: folder, env })
  return { ...said, asked: readFileSync(asked, 'utf8') }
}

t.test('replicas are found behind a comment and in quotes', async (t) => {
  for (const profiles of [
    'scale',
    'scale   # three of them',
    '"monitoring,scale"',
    'scale,monitoring # both',
  ]) {
    const { code, stdout, stderr, asked } = await upgrade(t, profiles, 'docker-compose.prod.yml')
    t.equal(code, 0, stderr)
    t.match(stdout, 'api-gateway-prod-3 is updated', profiles)
    t.notMatch(asked, 'run -d', 'no second gateway on the files of the first')
  }
  const { asked } = await upgrade(t, 'monitoring # no scale', 'docker-compose.prod.yml')
  t.notMatch(asked, 'api-gateway-2')
})

t.test('a gateway without an edge of ours keeps its port: the command for it is said', async (t) => {
  for (const file of ['docker-compose.gateway.yml', '/opt/gateway/docker-compose.gateway.yml']) {
    const { code, stderr, asked } = await upgrade(t, '', file)
    t.equal(code, 1)
    t.match(stderr, 'docker-compose -f docker-compose.gateway.yml up -d --build')
    t.notMatch(asked, / (up|build|run|stop|rm|tag) /, 'nothing was touched')
  }
})
