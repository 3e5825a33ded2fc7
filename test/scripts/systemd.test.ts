import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const UNITS = join(import.meta.dirname, '..', '..', 'deploy', 'systemd')
const NAME = 'llm-api-gateway-backup'
const isMissing = spawnSync('systemd-analyze', ['--version']).status !== 0
const skip = isMissing && 'systemd-analyze is missing: apt-get install systemd'

t.test('systemd takes the units of the nightly backup as they are', { skip }, async (t) => {
  for (const name of [`${NAME}.service`, `${NAME}.timer`]) {
    const args = ['verify', '--man=no', join(UNITS, name)]
    const { status, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
    t.equal(status, 0, stderr)
    t.notMatch(stderr, NAME)
  }
  const [, when = ''] = /^OnCalendar=(.+)$/m.exec(readFileSync(join(UNITS, `${NAME}.timer`), 'utf8')) ?? []
  t.equal(spawnSync('systemd-analyze', ['calendar', when]).status, 0, when)
})
