import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { authorityFile, makeCertificates } from '../support/certificates.ts'
import { temporaryFolder } from '../support/gateway.ts'
import { bareEnv, runProcess } from '../support/process.ts'

const ROOT = join(import.meta.dirname, '../..')
const LOCATION = pathToFileURL(join(import.meta.dirname, '../../scripts/command/location.ts'))
const certificates = await makeCertificates()
const REDIS = 'REDIS_URL=rediss://redis.internal'

/** Whether a command that is called beside this `.env` trusts the authority. */
async function trusts(dotEnv: string, env: Record<string, string> = {}) {
  const cwd = temporaryFolder(t, 'gw-command-')
  authorityFile(cwd, certificates)
  writeFileSync(join(cwd, '.env'), dotEnv)
  const code = `
    import { getCACertificates } from 'node:tls'
    import { readFileSync } from 'node:fs'
    import { readLocation } from '${LOCATION}'
    readLocation('DATABASE_URL')
    const flat = (text) => text.replace(/\\s/g, '')
    const wanted = flat(readFileSync('authority.pem', 'utf8'))
    console.log(getCACertificates('default').some((one) => flat(one) === wanted))`
  const args = ['--input-type=module', '-e', code]
  return runProcess(t, { args, cwd, env: { ...bareEnv(), ...env } })
}

t.test('a command trusts for Redis whom the server trusts, also by .env', async (t) => {
  const authority = 'NODE_EXTRA_CA_CERTS=authority.pem'
  for (const [lines, wanted] of [
    [[REDIS, authority], 'true'],
    [[REDIS, 'DATABASE_URL=postgres://u:p@db/x', authority], 'true'],
    [[REDIS], 'false'],
    [[authority], 'false'],
  ] as const) {
    const { code, stdout, stderr } = await trusts(lines.join('\n'))
    t.equal(code, 0, stderr)
    t.equal(stdout.trim(), wanted, lines.join(', '))
  }
  t.equal(
    (await trusts(REDIS, { NODE_EXTRA_CA_CERTS: 'authority.pem' })).stdout.trim(),
    'true',
    'by Node itself',
  )
  for (const spelt of ['"authority.pem"', 'authority.pem # ours'])
    t.equal((await trusts(REDIS, { NODE_EXTRA_CA_CERTS: spelt })).stdout.trim(), 'true', spelt)
})

t.test(
  'one that cannot be read is told as what it is, and matters to no command without Redis',
  async (t) => {
    const missing = 'NODE_EXTRA_CA_CERTS=missing.pem'
    t.match((await trusts(`${REDIS}\n${missing}`)).stderr, /NODE_EXTRA_CA_CERTS cannot be read \(ENOENT\)/)
    t.equal((await trusts(missing)).code, 0)
  },
)

t.test('a backup that is called elsewhere holds the .env of the project, which names DB_DIR', async (t) => {
  const project = temporaryFolder(t, 'gw-project-')
  for (const name of ['scripts', 'src', 'package.json'])
    cpSync(join(ROOT, name), join(project, name), {
      recursive: true,
      filter: (path) => !/src\/(db|logs)$/.test(path),
    })
  symlinkSync(join(ROOT, 'node_modules'), join(project, 'node_modules'))
  mkdirSync(join(project, 'data'))
  writeFileSync(join(project, '.env'), 'DB_DIR=data\nRATE_LIMIT_PER_MINUTE=77\n')
  const cwd = temporaryFolder(t, 'gw-elsewhere-')
  const call = (...args: string[]) =>
    runProcess(t, { args: [join(project, 'scripts', args[0] ?? ''), ...args.slice(1)], cwd, env: bareEnv() })
  t.equal((await call('token-gen.js', '--userName', 'ann', '--token', '5')).code, 0)
  t.ok(readdirSync(join(project, 'data')).includes('tokens.json'), 'its DB_DIR is below the project')
  const { code, stdout, stderr } = await call('backup.js', '--to', 'shelf')
  t.equal(code, 0, stderr)
  const names = execFileSync('tar', ['tzf', stdout.trim()], { cwd, encoding: 'utf8' })
  t.match(names, /^\.env$/m)
})

t.test('what the server wants of services is none of a command’s business', async (t) => {
  const lines = [
    'USER_SERVICE_URL=http://users:3000',
    'BIG_JOB_SERVICE_PUBLIC=/login,POST /register',
    'JWT_SECRET=short',
  ]
  const more = [
    'JWT_PUBLIC_KEY=-----BEGIN PUBLIC KEY-----\\nMFkw\\n-----END PUBLIC KEY-----',
    'QUERY_API_KEYS=proxy',
  ]
  const { code, stderr } = await trusts([...lines, ...more].join('\n'))
  t.equal(code, 0, stderr)
  const typo = await trusts('USERS_SERVICE_URLS=http://users:3000')
  t.match(typo.stderr, /line 1, USERS_SERVICE_URLS: is no setting, did you mean USERS_SERVICE_URL\?/)
})
