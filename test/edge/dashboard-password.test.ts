import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import bcrypt from 'bcryptjs'
import t from 'tap'
import { temporaryFolder } from '../support/gateway.ts'
import { run, shell } from './support/shell.ts'

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'dashboard-password.js')

t.test(
  'each password is made anew, printed once, and kept as a hash that its owner alone may read',
  async (t) => {
    const file = join(temporaryFolder(t), 'users')
    const first = await run(process.execPath, [SCRIPT, '--file', file])
    const second = await run(process.execPath, [SCRIPT, '--file', file, '--user', 'night.shift'])
    t.match(first.stdout, /^[\w-]{32}\n$/, 'the password alone')
    t.not(first.stdout, second.stdout)
    const [user, hash = ''] = readFileSync(file, 'utf8').trim().split(':')
    t.equal(user, 'night.shift')
    t.match(hash, /^\$2[aby]\$10\$/)
    t.ok(await bcrypt.compare(second.stdout.trim(), hash))
    t.notOk(await bcrypt.compare(first.stdout.trim(), hash))
    t.equal(statSync(file).mode & 0o777, 0o600)
    t.match(second.stderr, 'up -d --force-recreate traefik')
  },
)

t.test('an own password comes from standard input; a poor one is refused and the old stays', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'users')
  const own = (password: string) => {
    writeFileSync(join(folder, 'password'), password)
    return run('sh', [
      '-c',
      `"${process.execPath}" "${SCRIPT}" --stdin --file "${file}" < "${folder}/password"`,
    ])
  }
  const { code, stdout } = await own('correct horse battery\n')
  t.equal(code, 0)
  t.equal(stdout, '', 'it is not repeated')
  const kept = readFileSync(file, 'utf8')
  t.ok(await bcrypt.compare('correct horse battery', kept.trim().split(':')[1] ?? ''))
  for (const poor of ['', 'short', 'x'.repeat(73)]) t.equal((await own(poor)).code, 1)
  t.equal((await run(process.execPath, [SCRIPT, '--file', file, '--user', 'a:b'])).code, 1)
  t.equal((await run(process.execPath, [SCRIPT, '--pass', 'x'])).code, 2)
  t.equal(readFileSync(file, 'utf8'), kept)
})

t.test('no hash and no password is in the repository', async (t) => {
  const files = await shell('git ls-files', { cwd: join(import.meta.dirname, '..', '..') })
  t.notMatch(files, 'dashboard-users')
  t.notMatch(await shell('git check-ignore edge/dashboard-users || echo tracked'), 'tracked')
})
