import { once } from 'node:events'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { bearer, get, post } from '../support/client.ts'
import { failGateway, mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { modelsFile, modelsText } from '../support/models.ts'
import { ask, openScene } from '../support/scene.ts'

const CHAT = '/v1/chat/completions'
t.test('a second server on the same folder refuses at once, the first goes on', async (t) => {
  const { options } = await openScene(t)
  const gateway = await startGateway(t, options)
  const from = performance.now()
  const { code, stdout, stderr } = await failGateway(t, options)
  t.ok(performance.now() - from < 3000)
  t.equal(code, 78)
  t.equal(stdout, '')
  t.match(stderr, /^Another server uses DB_DIR "[^\n]*\n$/)
  t.equal((await get(gateway, '/ready')).status, 200)
  t.ok(await mintToken(t, gateway))
})

t.test('a port that is taken is one clear line and exit 1', async (t) => {
  const { options } = await openScene(t)
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const address = taken.address()
  const port = typeof address === 'object' && address ? String(address.port) : ''
  const { code, stderr } = await failGateway(t, { ...options, env: { ...options.env, PORT: port } })
  t.equal(code, 1)
  t.match(
    stderr,
    new RegExp(`^The gateway cannot listen on 127\\.0\\.0\\.1:${port} \\(EADDRINUSE\\)[^\n]*\n$`),
  )
})

t.test('every mistake in the settings is named at once, before anything is opened', async (t) => {
  const dbDir = join(temporaryFolder(t), 'db')
  const env = { PORT: 'http', ADMIN_FIRST: 'short', RATE_LIMIT_PER_MINUTE: '-1', TRUSTED_PROXIES: 'true' }
  const { code, stdout, stderr } = await failGateway(t, { dbDir, env })
  t.equal(code, 78)
  t.equal(stdout, '')
  for (const name of Object.keys(env)) t.match(stderr, name)
  t.notMatch(stderr, /\n {4}at /, 'no stack')
  t.throws(() => readFileSync(join(dbDir, 'tokens.json')), { code: 'ENOENT' })
})

t.test("a master token that is a client's already is refused in words", async (test) => {
  const gateway = await startGateway(test)
  const { dbDir } = gateway
  const ADMIN_FIRST = await mintToken(test, gateway)
  await gateway.stop()
  const { code, stderr } = await failGateway(test, { dbDir, env: { ADMIN_FIRST } })
  test.equal(code, 78)
  test.match(stderr, /^ADMIN_FIRST is the secret of another token already: make one with .*\n$/)
})

t.test('a damaged store is named with a way out, and is left as it is', async (t) => {
  const { options } = await openScene(t)
  const gateway = await startGateway(t, options)
  await mintToken(t, gateway)
  await gateway.stop()
  const path = join(options.dbDir, 'tokens.json')
  const whole = readFileSync(path, 'utf8')
  const broken = whole.slice(0, whole.length / 2)
  writeFileSync(path, broken)
  const { code, stderr } = await failGateway(t, options)
  t.equal(code, 78)
  t.match(stderr, /tokens\.json/)
  t.match(stderr, /backup/)
  t.equal(readFileSync(path, 'utf8'), broken)
})

t.test('the models file is followed; a bad one is reported and the old one stays', async (t) => {
  const { provider, path, options } = await openScene(t)
  const gateway = await startGateway(t, options)
  const token = await mintToken(t, gateway)
  const models = async () => {
    const { data } = (await get(gateway, '/v1/models', bearer(token))).json()
    return data.map(({ id }: { id: string }) => id)
  }
  t.strictSame(await models(), ['m'])
  const two = modelsText({ providers: { main: provider.url }, models: { m: 'main', second: 'main' } })
  writeFileSync(`${path}.new`, two)
  renameSync(`${path}.new`, path)
  await gateway.waitForLine(({ msg }) => msg === 'models file re-read')
  t.strictSame(await models(), ['m', 'second'])

  writeFileSync(path, 'models: [not, a, map')
  const { mistakes } = await gateway.waitForLine(({ msg }) => msg.startsWith('models file refused'))
  t.match(mistakes, /MODELS_FILE/)
  t.strictSame(await models(), ['m', 'second'])

  writeFileSync(path, two)
  gateway.signal('SIGHUP')
  const count = () => gateway.lines().filter(({ msg }) => msg === 'models file re-read').length
  await gateway.waitForLine(() => count() >= 2)
  t.equal((await post(gateway, CHAT, { ...ask(false), model: 'second' }, bearer(token))).status, 200)
})

t.test('a refused start repeats no secret', async (t) => {
  const secret = 'S3CR3Tofasettingthatisnowhereelse'
  const keys = { FIRST_KEY: secret }
  const refusals = await Promise.all([
    failGateway(t, {
      env: {
        ADMIN_FIRST: `your_${secret}`,
        OPENAI_API_KEY: `${secret} ${secret}`,
        OPENAI_BASE_URL: `http://a:${secret}@b`,
      },
    }),
    failGateway(t, {
      env: {
        CORS_ALLOWLIST: `https://a:${secret}@b`,
        TRUSTED_PROXIES: secret,
        PASSTHROUGH_PATHS: `/v1/files=https://a:${secret}@b`,
      },
    }),
    failGateway(t, {
      env: keys,
      modelsFile: modelsFile(t, {
        providers: { first: { baseUrl: `https://a:${secret}@b/v1`, keyEnv: 'FIRST_KEY' } },
        models: { m: 'first' },
      }),
    }),
  ])
  for (const { code, stdout, stderr } of refusals) {
    t.equal(code, 78)
    t.ok(stderr.length > 0)
    t.notMatch(`${stdout}${stderr}`, secret)
  }
})
