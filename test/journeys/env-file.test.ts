import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ENV_CASES } from '../support/env-cases.ts'
import { failGateway, startGateway, temporaryFolder } from '../support/gateway.ts'
import { bareEnv, runProcess } from '../support/process.ts'

const MASTER = 'aB3dEfGhIjKlMnOpQr#StUvWx'
const TOKEN_GEN = join(import.meta.dirname, '..', '..', 'scripts', 'token-gen.js')

/** A folder with this `.env`, where nothing else is said. */
function write(t: Test, content: string | Buffer) {
  const cwd = temporaryFolder(t, 'gw-env-')
  writeFileSync(join(cwd, '.env'), content)
  return { cwd, env: { ADMIN_FIRST: '' } }
}

const tokenGen = (t: Test, cwd: string) => runProcess(t, { args: [TOKEN_GEN, '--list'], env: bareEnv(), cwd })

t.test(
  'an .env with a byte-order mark, CRLF, comments and quotes is the gateway that it describes',
  async (t) => {
    const lines = [
      `\uFEFFADMIN_FIRST='${MASTER}'   # master`,
      'LOG_LEVEL="info"',
      'OPENAI_API_KEY=sk-1 # mine',
      '',
    ]
    const gateway = await startGateway(t, write(t, lines.join('\r\n')))
    const listening = await gateway.waitForLine(({ msg }) => msg === 'listening')
    t.ok(Number(listening.models) > 1, 'the key is read: no demo')
    const { status } = await fetch(`${gateway.url}/metrics`, {
      headers: { authorization: `Bearer ${MASTER}` },
    })
    t.equal(status, 200)
  },
)

t.test('what docker run makes of the same lines is the same gateway', async (t) => {
  const ofCluster = {
    API_GATEWAY_PORT: 'tcp://10.43.0.5:8088',
    REDIS_SERVICE_HOST: '10.43.0.6',
    npm_config_x: 'y',
  }
  const env = { ...ofCluster, ADMIN_FIRST: ` '${MASTER}'   # master`, LOG_LEVEL: '"info"', RATE_LIMIT: '5' }
  const gateway = await startGateway(t, { env })
  const { warning } = await gateway.waitForLine(({ msg }) => msg === 'a variable is no setting')
  t.match(warning, /^RATE_LIMIT is no setting, did you mean RATE_LIMIT_PER_MINUTE/)
  t.equal(gateway.lines().filter(({ msg }) => msg === 'a variable is no setting').length, 1)
  const { status } = await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${MASTER}` } })
  t.equal(status, 200)
})

t.test(
  'a start is refused with every line that is wrong, the settings among them, and the command says the same',
  async (t) => {
    const secret = 'S3CR3Tofasettingthatisnowhereelse'
    const content = `PORT: 9000\nexport A=1\nOPENAI_KEY=${secret}\nLOG_LEVEL=WARNING\nADMIN_FIRST="${secret}\n`
    const { cwd, env } = write(t, content)
    const { code, stdout, stderr } = await failGateway(t, { cwd, env })
    t.equal(code, 78)
    t.match(stderr.trim().split('\n').slice(1), [
      /^\.env line 1 has a colon/,
      /^\.env line 2 begins with "export"/,
      /^\.env line 3, OPENAI_KEY: is no setting, did you mean OPENAI_API_KEY/,
      /^\.env line 5, ADMIN_FIRST: its quote is not closed/,
      /^LOG_LEVEL must be one of .*: write warn$/,
    ])
    const command = await tokenGen(t, cwd)
    t.equal(command.code, 1)
    t.match(command.stderr, /^token-gen: .*\.env line 1 has a colon.*line 5, ADMIN_FIRST/)
    for (const text of [stdout, stderr, command.stdout, command.stderr]) t.notMatch(text, secret)
  },
)

t.test(
  'UTF-16, an open quote or a folder in place of the file end the start, and nothing is made',
  async (t) => {
    for (const what of [
      'UTF-16, little end first',
      'UTF-16 without a mark',
      'an open double quote',
      'Latin-1',
    ]) {
      const { file = '' } = ENV_CASES.find((each) => each.what === what) ?? {}
      const { code, stderr, stdout } = await failGateway(t, write(t, file))
      t.equal(code, 78, what)
      t.match(stderr, /\n\.env (is UTF-16|line \d+)/)
      t.equal(stdout, '', 'no master token was made')
    }
    const cwd = t.testdir({ '.env': {} })
    const { code, stderr } = await failGateway(t, { cwd })
    t.equal(code, 78)
    t.match(stderr, /\.env is a folder/)
  },
)

t.test('what is mended or wide is told in the log of the start', async (t) => {
  const { cwd } = write(
    t,
    'CORS_ALLOWLIST=https://a.vercel.app,https://*.vercel.app\nOPENAI_BASE_URL=https://api.openai.com\n',
  )
  const gateway = await startGateway(t, { cwd, env: { OPENAI_API_KEY: 'sk-1' } })
  await gateway.waitForLine(({ msg }) => msg === 'listening')
  const told = gateway
    .lines()
    .filter(({ level }) => level === 'warn')
    .map(({ warning }) => warning)
  t.match(told.join('\n'), /CORS_ALLOWLIST entry 2 lets in the pages of everyone hosted on vercel\.app/)
  t.match(told.join('\n'), /OPENAI_BASE_URL has no path: it is read as https:\/\/api\.openai\.com\/v1/)
  const allowed = async (origin: string) =>
    (await fetch(`${gateway.url}/health`, { headers: { origin } })).headers.get('access-control-allow-origin')
  t.equal(await allowed('https://any.vercel.app'), 'https://any.vercel.app')
  t.equal(await allowed('https://any.vercel.app.evil.example'), null)
  t.equal(await allowed('https://a.b.vercel.app'), null)
})
