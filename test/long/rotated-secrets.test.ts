import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { chat } from '../support/answers.ts'
import { status } from '../support/behaviour.ts'
import { authorityFile, makeCertificates } from '../support/certificates.ts'
import { bearer, get, openStream, post } from '../support/client.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { modelsFile, modelsText } from '../support/models.ts'
import { startOutgoingProxy } from '../support/outgoing-proxy.ts'
import { startProvider } from '../support/provider.ts'
import { ask } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const secret = (name: string): string => `${name}-0123456789abcdef`

/** A gateway whose provider's key stands in a file of a folder of the test's own. */
async function openKeyed(test: Test, env: Record<string, string> = {}) {
  const provider = await startProvider(test)
  const folder = temporaryFolder(test)
  const file = join(folder, 'key')
  writeFileSync(file, secret('first'))
  const models = modelsFile(test, {
    providers: { main: { baseUrl: provider.url, keyEnv: 'MAIN_KEY' } },
    models: { m: 'main' },
  })
  const gateway = await startGateway(test, {
    modelsFile: models,
    env: { MAIN_KEY_FILE: file, RATE_LIMIT_PER_MINUTE: '100000', ...env },
  })
  const headers = bearer(await mintToken(test, gateway))
  /** What the provider is sent now. */
  const keySent = async (path = CHAT): Promise<string> => {
    await post(gateway, path, ask(false), headers)
    return String(provider.requests.at(-1)?.headers.authorization).replace('Bearer ', '')
  }
  const becomes = (name: string) =>
    waitUntil(
      () => keySent(),
      (key) => key === secret(name),
    )
  return { provider, folder, file, models, gateway, headers, keySent, becomes }
}

t.test('a key is replaced by an editor, by a copy and by a rename, without a restart', async (test) => {
  const { file, gateway, headers, keySent, becomes, provider } = await openKeyed(test)
  test.equal(await keySent(), secret('first'))
  const stream = controlled()
  provider.queue(stream)
  const open = await openStream(gateway, { method: 'POST', path: CHAT, body: ask(true), headers })
  await stream.write('data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n')

  writeFileSync(file, `${secret('second')}\n`)
  await becomes('second')
  writeFileSync(`${file}~`, secret('third!'))
  renameSync(`${file}~`, file)
  await becomes('third!')

  await stream.write(`data: {"error":{"message":"bad ${secret('first')}"}}\n\n`)
  await stream.end()
  const { text } = await open.rest()
  test.match(text, 'Hi', 'a stream goes on as it began')
  test.notMatch(text, secret('first'), 'and its own key stays hidden in it')

  const named = { ...ask(false), model: secret('third!') }
  await post(gateway, CHAT, named, headers)
  await gateway.stop()
  for (const name of ['first', 'second', 'third!'])
    test.notMatch(gateway.stdout() + gateway.stderr(), secret(name), 'no line of the log has a key')
})

t.test('Kubernetes turns the link of a mounted folder, and all its keys are other ones', async (test) => {
  const { provider, folder } = await openKeyed(test)
  const mount = join(folder, 'mount')
  const make = (version: string, key: string): void => {
    mkdirSync(join(mount, version), { recursive: true })
    writeFileSync(join(mount, version, 'key'), key)
    symlinkSync(version, join(mount, '..data_tmp'))
    renameSync(join(mount, '..data_tmp'), join(mount, '..data'))
  }
  make('..2026_01', secret('first'))
  symlinkSync(join('..data', 'key'), join(mount, 'key'))
  const models = modelsFile(test, {
    providers: { main: { baseUrl: provider.url, keyEnv: 'MAIN_KEY' } },
    models: { m: 'main' },
  })
  const gateway = await startGateway(test, {
    modelsFile: models,
    env: { MAIN_KEY_FILE: join(mount, 'key'), RATE_LIMIT_PER_MINUTE: '100000' },
  })
  const headers = bearer(await mintToken(test, gateway))
  make('..2026_02', secret('other'))
  rmSync(join(mount, '..2026_01'), { recursive: true })
  await waitUntil(
    async () => {
      await post(gateway, CHAT, ask(false), headers)
      return provider.requests.at(-1)?.headers.authorization
    },
    (sent) => sent === `Bearer ${secret('other')}`,
  )
})

t.test('a file that is empty, unreadable or no key changes nothing, and the log says so', async (test) => {
  const { file, gateway, keySent, becomes } = await openKeyed(test)
  const refused = (pattern: RegExp) =>
    gateway.waitForLine(
      ({ msg, variable, mistake }) =>
        /secret refused/.test(msg) && variable === 'MAIN_KEY_FILE' && pattern.test(String(mistake)),
    )
  writeFileSync(file, '\n')
  await refused(/names an empty file/)
  test.equal(await keySent(), secret('first'))
  rmSync(file)
  await refused(/cannot be read \(ENOENT\)/)
  writeFileSync(file, 'two words of which none may be shown')
  await refused(/holds blanks/)
  test.equal(await keySent(), secret('first'))
  writeFileSync(file, secret('first'))
  await gateway.waitForLine(({ msg }) => /says again what is in force/.test(msg))
  writeFileSync(file, secret('second'))
  await becomes('second')
  test.notMatch(gateway.stdout(), 'two words of which')
})

t.test('no other file that is gone by now keeps a key from being replaced', async (test) => {
  const others = temporaryFolder(test)
  const [authority, metrics] = [authorityFile(others, await makeCertificates()), join(others, 'metrics')]
  writeFileSync(metrics, secret('metrics'))
  const { file, gateway, becomes } = await openKeyed(test, {
    NODE_EXTRA_CA_CERTS: authority,
    METRICS_KEY_FILE: metrics,
  })
  rmSync(authority)
  rmSync(metrics)
  writeFileSync(file, secret('second'))
  await becomes('second')
  const refused = gateway.lines().filter(({ msg }) => /secret refused/.test(msg))
  test.same([...new Set(refused.map(({ variable }) => variable))], ['METRICS_KEY_FILE'])
})

t.test('a provider that rests for its key is asked at once when it has another one', async (test) => {
  const { file, models, gateway, headers, provider } = await openKeyed(test)
  const other = await startProvider(test)
  writeFileSync(
    models,
    modelsText({
      providers: { main: { baseUrl: provider.url, keyEnv: 'MAIN_KEY' }, other: { baseUrl: other.url } },
      models: { m: ['main', 'other'] },
    }),
  )
  await gateway.waitForLine(({ msg }) => /models file re-read/.test(msg))
  provider.answer((seen) => (seen.headers.authorization === `Bearer ${secret('new')}` ? chat() : status(401)))
  const asked = async () => {
    test.equal((await post(gateway, CHAT, ask(false), headers)).status, 200)
    return provider.requests.length
  }
  test.equal(await asked(), 1)
  // The probe after its first rest makes the next one longer.
  await waitUntil(asked, (count) => count === 2)
  test.equal(await asked(), 2, 'it rests')
  writeFileSync(file, secret('new'))
  await gateway.waitForLine(({ msg }) => /^secrets re-read/.test(msg))
  test.equal(await asked(), 3, 'it is asked')
})

t.test('a 401 has the file read again at once, before anybody looks', async (test) => {
  const { file, gateway, headers, provider } = await openKeyed(test)
  provider.answer((seen) => (seen.headers.authorization === `Bearer ${secret('new')}` ? chat() : status(401)))
  writeFileSync(file, secret('new'))
  test.equal((await post(gateway, CHAT, ask(false), headers)).status, 502)
  test.equal((await post(gateway, CHAT, ask(false), headers)).status, 200)
})

t.test('SIGHUP reads keys at once, whatever is wrong with the models file', async (test) => {
  const { file, models, gateway, headers, provider } = await openKeyed(test)
  writeFileSync(file, secret('hup'))
  gateway.signal('SIGHUP')
  await gateway.waitForLine(({ msg }) => /^reload: .*\.env count at a start/.test(msg))
  await gateway.waitForLine(({ msg }) => /^secrets re-read/.test(msg))
  await post(gateway, CHAT, ask(false), headers)
  test.equal(provider.requests.at(-1)?.headers.authorization, `Bearer ${secret('hup')}`)

  // The models file is wrong at that moment: keys are followed all the same.
  writeFileSync(models, 'models: [')
  await gateway.waitForLine(({ msg }) => /models file refused/.test(msg))
  writeFileSync(file, secret('again'))
  for (let count = 0; count < 5; count++) gateway.signal('SIGHUP')
  await waitUntil(
    async () => {
      await post(gateway, CHAT, ask(false), headers)
      return provider.requests.at(-1)?.headers.authorization
    },
    (sent) => sent === `Bearer ${secret('again')}`,
  )
})

t.test('a key that the models file names later is followed as well', async (test) => {
  const lateFile = join(temporaryFolder(test), 'late')
  writeFileSync(lateFile, secret('late'))
  const { models, gateway, headers } = await openKeyed(test, { LATE_KEY_FILE: lateFile })
  const late = await startProvider(test)
  writeFileSync(
    models,
    modelsText({
      providers: { late: { baseUrl: late.url, keyEnv: 'LATE_KEY' } },
      models: { m: 'late' },
    }),
  )
  const sent = async () => {
    await post(gateway, CHAT, ask(false), headers)
    return late.requests.at(-1)?.headers.authorization
  }
  await waitUntil(sent, (key) => key === `Bearer ${secret('late')}`)
  writeFileSync(lateFile, secret('later'))
  await waitUntil(sent, (key) => key === `Bearer ${secret('later')}`)
})

t.test('paths that are handed on use the new key too', async (test) => {
  const { file, gateway, headers, provider, becomes } = await openKeyed(test, {
    PASSTHROUGH_PATHS: '/v1/files=main',
  })
  writeFileSync(file, secret('second'))
  await becomes('second')
  await get(gateway, '/v1/files', headers)
  test.equal(provider.requests.at(-1)?.headers.authorization, `Bearer ${secret('second')}`)
})

t.test('another master token takes the place of the one before', async (test) => {
  const path = join(temporaryFolder(test), 'admin')
  const [old, fresh] = ['an-old-master-token-01', 'a-new-master-token-02']
  writeFileSync(path, old)
  const { gateway, provider } = await openKeyed(test, { ADMIN_FIRST: '', ADMIN_FIRST_FILE: path })
  const stream = controlled()
  provider.queue(stream)
  const opening = openStream(gateway, { method: 'POST', path: CHAT, body: ask(true), headers: bearer(old) })
  await stream.write('data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n')
  // It may end as soon as the new token is in force.
  const rest = (await opening).rest()
  const statusOf = async (token: string) => (await get(gateway, '/v1/models', bearer(token))).status
  test.equal(await statusOf(old), 200)
  writeFileSync(path, 'short')
  await gateway.waitForLine(({ mistake }) => /at least 16 characters/.test(String(mistake)))
  writeFileSync(path, fresh)
  await waitUntil(
    () => statusOf(fresh),
    (seen) => seen === 200,
  )
  test.equal(await statusOf(old), 401)
  test.match((await rest).text, 'Your token is no longer valid', 'its streams end, as after a revocation')
  const { credits } = await waitUntil(
    async () => (await get(gateway, '/v1/token', bearer(fresh))).json(),
    (seen) => seen.credits.held === 0,
  )
  test.ok(credits.charged > 0, 'and what was sent is paid for')
  await gateway.stop()
  for (const token of [old, fresh]) test.notMatch(gateway.stdout(), token)
})

t.test(
  'a file that is broken while the models file changes keeps no model from being served',
  async (test) => {
    const { file, models, gateway, provider, keySent } = await openKeyed(test)
    rmSync(file)
    await gateway.waitForLine(({ msg }) => /secret refused/.test(msg))
    const more = modelsText({
      providers: { main: { baseUrl: provider.url, keyEnv: 'MAIN_KEY' } },
      models: { m: 'main', another: 'main' },
    })
    writeFileSync(models, more)
    await gateway.waitForLine(({ msg }) => /models file re-read/.test(msg))
    test.equal(await keySent(), secret('first'))
  },
)

t.test('a proxy is told the new password, on connections that begin then', async (test) => {
  const provider = await startProvider(test)
  const names = { 'models.example': provider.port }
  const proxy = await startOutgoingProxy(test, {
    names,
    auth: { text: 'me:new-word-22', inUrl: 'me:new-word-22' },
  })
  const file = join(temporaryFolder(test), 'proxy')
  writeFileSync(file, proxy.url.replace('new-word-22', 'old-word-11'))
  const gateway = await startGateway(test, {
    modelsFile: modelsFile(test, {
      providers: { main: { baseUrl: 'http://models.example/v1', allowInsecure: true } },
      models: { m: 'main' },
    }),
    env: { HTTP_PROXY_FILE: file, RATE_LIMIT_PER_MINUTE: '100000' },
  })
  const headers = bearer(await mintToken(test, gateway))
  test.equal((await post(gateway, CHAT, ask(false), headers)).status, 503)
  writeFileSync(file, proxy.url)
  await waitUntil(
    () => post(gateway, CHAT, ask(false), headers),
    (reply) => reply.status === 200,
  )
  await gateway.stop()
  test.notMatch(gateway.stdout(), /old-word-11|new-word-22/)
})
