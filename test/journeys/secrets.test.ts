import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { type Behaviour, json, raw } from '../support/behaviour.ts'
import { bearer, get, openStream, rawRequest, type Sent, send } from '../support/client.ts'
import { badChunk, bytes, hang, resetAtBodyByte } from '../support/faults.ts'
import { formBody, formType } from '../support/form.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { modelsFile } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { controlled } from '../support/stream-behaviours.ts'

const CHAT = '/v1/chat/completions'
const planted = new Map<string, string>()

/** A secret that stands nowhere else in the world. */
function plant(name: string, start = 'S3CR3T'): string {
  const secret = `${start}${randomBytes(16).toString('hex')}`
  planted.set(name, secret)
  return secret
}

const [first, second] = [await startProvider(t), await startProvider(t)]
const keys = { FIRST_KEY: plant('the key of the first provider'), SECOND_KEY: plant('the key of the second') }
const entry = (url: string, keyEnv: string) => ({ baseUrl: url, keyEnv })
/** Each case asks for a model of its own, since whoever fails is left to rest. */
const CASES = 40
const names = Array.from({ length: CASES }, (_, index) => `m${index}`)
const models = {
  providers: { first: entry(first.url, 'FIRST_KEY'), second: entry(second.url, 'SECOND_KEY') },
  models: { ...Object.fromEntries(names.map((name) => [name, ['first', 'second']])), alone: 'second' },
}
let cases = 0
const gateway = await startGateway(t, {
  modelsFile: modelsFile(t, models),
  env: {
    ...keys,
    ADMIN_FIRST: plant('the master token'),
    LOG_LEVEL: 'trace',
    RATE_LIMIT_PER_MINUTE: '100000',
    UNAUTHENTICATED_PER_MINUTE: '100000',
    ANSWER_TIMEOUT_MS: '300',
    FIRST_BYTE_TIMEOUT_MS: '300',
    IDLE_TIMEOUT_MS: '300',
    BODY_TIMEOUT_MS: '300',
    CORS_ALLOWLIST: 'https://shop.example.app',
  },
})
const token = await mintToken(t, gateway)
planted.set('a valid token', token)
const revoked = await mintToken(t, gateway, { expires: '2020-01-01' }).catch(() =>
  plant('an expired token', 'gw-'),
)
planted.set('an expired token', revoked)

const auth = bearer(token)
/** Everything that the gateway itself has said to clients. */
const said: string[] = []
const hear = async (sent: Partial<Sent>, mayEcho = false) => {
  const reply = await send(gateway, { method: 'POST', path: CHAT, headers: auth, ...sent }).catch(
    () => undefined,
  )
  if (!reply) return
  said.push(reply.rawHeaders.join('\n'))
  // A provider's own refusal passes as it is.
  if (!mayEcho) said.push(reply.text)
}
const hearRaw = async (text: string | Buffer) => said.push(await rawRequest(gateway.port, text, 700))
const ask = (name: string, more: object = {}) => ({
  model: names[cases++ % CASES],
  messages: [{ role: 'user', content: plant(`the prompt of ${name}`) }],
  user: plant(`the user field of ${name}`),
  metadata: { note: plant(`the metadata of ${name}`) },
  ...more,
})
/** Both providers do this next. */
const both = (behaviour: () => Behaviour) => {
  first.queue(behaviour())
  second.queue(behaviour())
}
const leakyHeaders = (name: string) => ({
  'set-cookie': `session=${plant(`a cookie of ${name}`)}`,
  'openai-organization': plant(`the account at ${name}`),
  'x-api-key': plant(`a header of ${name}`),
  'x-request-id': plant(`the request id of ${name}`),
})

t.test('answers of every kind', async () => {
  first.queue(chat({ headers: leakyHeaders('a success') }))
  await hear({
    body: ask('a success'),
    headers: {
      ...auth,
      cookie: plant('a cookie'),
      'x-api-key': plant('a second credential', 'gw-'),
      'proxy-authorization': `Basic ${plant('a proxy password')}`,
      'x-own': plant('a header value'),
      'user-agent': plant('a user agent'),
      referer: `https://example.app/?t=${plant('a referer')}`,
      origin: `https://${plant('an origin').toLowerCase()}.example`,
    },
  })
  const echo = (status: number) =>
    json(
      { error: { message: `Incorrect API key: ${keys.FIRST_KEY}` } },
      { status, headers: leakyHeaders(`a ${status}`) },
    )
  first.queue(echo(400))
  await hear({ body: ask('a refusal') }, true)
  for (const status of [401, 403, 404, 429, 500, 503]) {
    both(() => echo(status))
    await hear({ body: ask(`a failure with ${status}`) })
  }
  first.queue(echo(500))
  await hear({ body: ask('a failover') })
  both(hang)
  await hear({ body: ask('a timeout') })
  both(badChunk)
  await hear({ body: ask('a bad chunk') })
  both(() => bytes(`${plant('no HTTP at all')}\r\n\r\n`))
  await hear({ body: ask('garbage') })
  first.queue(
    raw(200, { 'content-type': 'application/json' }, `{"usage": ${plant('broken JSON of a provider')}`),
  )
  await hear({ body: ask('broken JSON') }, true)
  both(() => raw(302, { location: `http://127.0.0.1:1/?key=${plant('a redirect')}` }))
  await hear({ body: ask('a redirect') })
  both(() => raw(200, { 'content-type': 'text/html' }, `<p>${plant('a page')}</p>`))
  await hear({ body: ask('a page') })
})

t.test('streams that end, break and are left', async () => {
  const ends: ((
    stream: Awaited<ReturnType<typeof openStream>>,
    running: ReturnType<typeof controlled>,
  ) => Promise<void>)[] = [
    (_stream, running) => running.end(),
    (_stream, running) => running.reset(),
    async (stream) => stream.abort(),
  ]
  for (const [index, end] of ends.entries()) {
    const running = controlled({ headers: leakyHeaders(`stream ${index}`) })
    second.queue(running)
    const body = ask(`stream ${index}`, { model: 'alone', stream: true })
    const opening = openStream(gateway, { path: CHAT, body, headers: auth })
    await running.opened
    await running.write(
      `data: {"choices":[{"delta":{"content":"${plant(`the words of stream ${index}`)}"}}]}\n\n`,
    )
    const stream = await opening
    said.push(JSON.stringify(stream.headers))
    const rest = stream.rest()
    await end(stream, running)
    await rest
  }
  second.queue(resetAtBodyByte(10, chat({ content: plant('a cut answer') })))
  await hear({ body: ask('a cut answer', { model: 'alone' }) }, true)
})

t.test('requests that are refused', async () => {
  await hear({ headers: bearer(plant('an unknown token', 'gw-')), body: ask('a stranger') })
  await hear({ headers: bearer(revoked), body: ask('an expired token') })
  await hear({ headers: { authorization: plant('a bare credential') }, body: ask('a bare credential') })
  await hear({ headers: { authorization: `Basic ${plant('a password')}` }, body: ask('basic auth') })
  await hear({ body: `{"model":"m", ${plant('broken JSON')}` })
  await hear({ body: `{"model":{"a":"${plant('a model that is an object')}"}}` })
  await hear({ body: { model: plant('a key as the model', 'sk-'), messages: [] } })
  await hear({ body: { model: plant('a token as the model', 'gw-'), messages: [] } })
  await hear({ body: ask('a wrong field', { max_tokens: plant('a wrong field value') }) })
  await hear({ path: `/v1/${plant('a path')}`, method: 'GET' })
  await hear({ path: `/v1/models/${plant('a model in the path')}`, method: 'GET' })
  for (const name of ['api_key', 'key', 'token', 'other'])
    await hear({ path: `/v1/models?${name}=${plant(`${name} in the query`)}`, method: 'GET' })
  await hear({ path: `/v1/%zz${plant('a broken path')}`, method: 'GET' })
  await hear({ headers: { ...auth, 'content-type': plant('a content type') }, body: 'x' })
  await hear({ headers: { ...auth, 'content-encoding': plant('an encoding') }, body: 'x' })
  await hearRaw(`${plant('no method')} / HTTP/1.1\r\n\r\n`)
  await hearRaw(`GET / HTTP/1.1\r\nHost: a\r\nx: a\0${plant('a NUL header')}\r\n\r\n`)
  await hearRaw(
    `POST ${CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{"a":"${plant('half a body')}`,
  )
  await hearRaw(`GET http://${plant('an absolute URL')}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
})

t.test('uploads', async () => {
  const form = (model: string) =>
    formBody([
      ['model', model],
      ['prompt', plant(`the prompt of an upload to ${model}`)],
      [
        'file',
        `${plant(`the file name of an upload to ${model}`)}.mp3`,
        Buffer.from(plant(`the file of ${model}`)),
      ],
    ])
  for (const model of ['alone', 'm0', 'unknown'])
    await hear({ path: '/v1/audio/transcriptions', headers: { ...auth, ...formType() }, body: form(model) })
})

/** Every byte that the gateway has written, by file. */
function writtenFiles(folder: string): [string, string][] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name): [string, string] => [name, join(folder, name)])
    .filter(([, path]) => statSync(path).isFile())
    .map(([name, path]) => [name, readFileSync(path, 'latin1')])
}

t.test('none of them is in any line, file, error or header', async (t) => {
  t.ok(planted.size >= 40, `${planted.size} secrets`)
  t.ok(first.requests.length > 10 && said.length > 50, 'they have been where they could leak')
  t.equal((await get(gateway, '/v1/models', auth)).status, 200)
  t.equal((await gateway.stop()).code, 0)
  const places: [string, string][] = [
    ['stdout', gateway.stdout()],
    ['stderr', gateway.stderr()],
    ['what clients got', said.join('\n')],
    ...writtenFiles(gateway.logDir),
    ...writtenFiles(gateway.dbDir),
  ]
  t.ok(places.some(([name]) => name === 'usage.sqlite') && places.some(([name]) => name === 'tokens.json'))
  for (const [name, secret] of planted) {
    const leaks = places.filter(([, text]) => text.toLowerCase().includes(secret.toLowerCase()))
    t.strictSame(
      leaks.map(([place]) => place),
      [],
      name,
    )
  }
  t.notMatch(said.join('\n'), /127\.0\.0\.1|node_modules|\.ts:\d/, 'no address and no stack either')
})
