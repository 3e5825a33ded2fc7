import { readFileSync } from 'node:fs'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { bearer, credits, post, rawRequest } from '../support/client.ts'
import { mintToken, startGateway } from '../support/gateway.ts'
import { codeOf, statusOf } from '../support/hostile.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'

const MIB = 1024 * 1024
/** The worst that 10 MiB of JSON can be. */
const LISTS = `{"model":"m","a":[${'[],'.repeat((10 * MIB - 50) / 3)}[]]}`
const CHAT = '/v1/chat/completions'

const provider = await startProvider(t)
const gateway = await startGateway(t, {
  modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
  env: {
    ...providerKeys('main'),
    RATE_LIMIT_PER_MINUTE: '100000',
    UNAUTHENTICATED_PER_MINUTE: '100000',
    MAX_JSON_BYTES: String(10 * MIB),
  },
})
const token = await mintToken(t, gateway)
const before = await credits(gateway, token)
const rssAtStart = rss()

/** kB of memory in use by the gateway. */
function rss(): number {
  const status = readFileSync(`/proc/${gateway.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1])
}

/** CPU time of the gateway so far: what other processes take of the machine is not in it. A tick is 10 ms. */
function cpuMs(): number {
  const stat = readFileSync(`/proc/${gateway.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** What one request costs the gateway: its event loop cannot have stood still for longer. */
async function costOf<T>(ask: () => Promise<T>): Promise<{ result: T; spentMs: number }> {
  const from = cpuMs()
  const result = await ask()
  return { result, spentMs: cpuMs() - from }
}

/** The yardstick: what a full parse of the worst body costs on this machine. */
function parseCostMs(): number {
  const from = process.cpuUsage()
  JSON.parse(LISTS)
  const { user, system } = process.cpuUsage(from)
  return (user + system) / 1000
}
const mostMs = parseCostMs()

const postHead = (headers: string) =>
  `POST ${CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n${headers}\r\n`
const deep = (levels: number) => `{"model":"m","messages":${'['.repeat(levels)}${']'.repeat(levels)}}`
const withField = (field: string) => `{"model":"m","messages":[],${field}}`

t.test('a body that is no request is refused by name, and nobody is asked', async (t) => {
  const asked = provider.requests.length
  const cases: [string, string | Buffer, number, string][] = [
    ['an array', '[]', 400, 'invalid_json'],
    ['a string', '"a"', 400, 'invalid_json'],
    ['a number', '1', 400, 'invalid_json'],
    ['null', 'null', 400, 'invalid_json'],
    ['nothing', '', 400, 'invalid_json'],
    ['blanks', ' \n\t ', 400, 'invalid_json'],
    ['cut short', '{"model":"m","messages":[', 400, 'invalid_json'],
    ['cut in a string', '{"model":"m', 400, 'invalid_json'],
    ['something behind it', '{"model":"m"}x', 400, 'invalid_json'],
    ['two objects', '{"model":"m"}{"model":"m"}', 400, 'invalid_json'],
    ['single quotes', "{'model':'m'}", 400, 'invalid_json'],
    ['a NUL', '{"model":"m"\0}', 400, 'invalid_json'],
    ['NULs alone', '\0\0\0\0', 400, 'invalid_json'],
    ['__proto__', '{"model":"m","__proto__":{"a":1}}', 400, 'invalid_json'],
    ['an escaped __proto__', '{"model":"m","__pr\\u006fto__":{"a":1}}', 400, 'invalid_json'],
    ['no model', '{"messages":[]}', 400, 'missing_model'],
    ['a null model', '{"model":null}', 400, 'missing_model'],
    ['an empty model', '{"model":""}', 400, 'missing_model'],
    ['a number as the model', '{"model":1}', 400, 'invalid_request'],
    ['a list as the model', '{"model":[]}', 400, 'invalid_request'],
    ['an object as the model', '{"model":{}}', 400, 'invalid_request'],
    ['true as the model', '{"model":true}', 400, 'invalid_request'],
    ['a long model', `{"model":"${'x'.repeat(300)}"}`, 400, 'invalid_request'],
    ['CR LF in the model', '{"model":"m\\r\\nx-evil: 1"}', 400, 'invalid_request'],
    ['ANSI in the model', '{"model":"\\u001b[31mm"}', 400, 'invalid_request'],
    ['C1 controls in the model', '{"model":"m\\u009b31m"}', 400, 'invalid_request'],
    ['a lone surrogate in the model', '{"model":"m\\ud800"}', 400, 'invalid_request'],
    ['an unknown model', '{"model":"../../etc/passwd"}', 404, 'model_not_found'],
    ['"constructor" as the model', '{"model":"constructor"}', 404, 'model_not_found'],
    ['"__proto__" as the model', '{"model":"__proto__"}', 404, 'model_not_found'],
    ['stream as text', withField('"stream":"yes"'), 400, 'invalid_request'],
    ['stream as a number', withField('"stream":1'), 400, 'invalid_request'],
    ['stream options as text', withField('"stream":true,"stream_options":"x"'), 400, 'invalid_request'],
    ['stream options as a list', withField('"stream":true,"stream_options":[]'), 400, 'invalid_request'],
    ['max_tokens as text', withField('"max_tokens":"many"'), 400, 'invalid_request'],
    ['negative max_tokens', withField('"max_tokens":-2'), 400, 'invalid_request'],
    ['half a token', withField('"max_tokens":1.5'), 400, 'invalid_request'],
    ['endless tokens', withField('"max_tokens":1e999'), 400, 'invalid_request'],
    ['max_completion_tokens as a list', withField('"max_completion_tokens":[]'), 400, 'invalid_request'],
    ['a billion answers', withField('"n":1e9'), 400, 'invalid_request'],
    ['no answer', withField('"n":0'), 400, 'invalid_request'],
    ['n as text', withField('"n":"2"'), 400, 'invalid_request'],
    ['more than the balance', withField('"max_tokens":9007199254740991,"n":128'), 429, 'insufficient_quota'],
    ['5,000 levels, unclosed', `{"model":"m","messages":${'['.repeat(5000)}}`, 400, 'invalid_json'],
    ['500,000 levels, unclosed', `{"model":"m","a":${'{"a":'.repeat(500_000)}`, 400, 'invalid_json'],
  ]
  for (const [name, body, status, code] of cases) {
    const reply = await post(gateway, CHAT, body, bearer(token))
    t.equal(reply.status, status, `${name}: ${reply.text}`)
    t.equal(codeOf(reply.text), code, name)
    t.ok(reply.headers['x-request-id'], name)
    t.equal(reply.headers['x-should-retry'], 'false', name)
  }
  t.equal(provider.requests.length, asked, 'no provider was asked')
})

t.test('odd bodies either pass byte for byte or are refused as JSON', async (t) => {
  const cases: [string, string | Buffer][] = [
    ['101 levels', deep(101)],
    ['5,000 levels', deep(5000)],
    ['500,000 levels', deep(500_000)],
    ['a byte order mark', '\uFEFF{"model":"m","messages":[]}'],
    ['invalid UTF-8', Buffer.from('{"model":"m","messages":"\xff\xfe\xc3("}', 'latin1')],
    ['lone surrogates', withField('"x":"\\ud800 \\udc00"')],
    ['messages as a number', '{"model":"m","messages":1}'],
    ['messages as null', '{"model":"m","messages":null}'],
    ['a nested __proto__', '{"model":"m","messages":[{"__proto__":{"a":1}}]}'],
  ]
  for (const [name, body] of cases) {
    const asked = provider.requests.length
    const { result, spentMs } = await costOf(() => post(gateway, CHAT, body, bearer(token)))
    t.ok(spentMs < mostMs, `${name}: ${spentMs} of ${Math.round(mostMs)} ms`)
    if (result.status !== 200) {
      t.match([result.status, codeOf(result.text)], [400, 'invalid_json'], name)
      t.equal(provider.requests.length, asked, name)
      continue
    }
    t.ok(provider.requests.at(-1)?.body.equals(Buffer.from(body)), `${name} passes as it came`)
  }
})

t.test('10 MiB pass, one byte more does not, announced or not', async (t) => {
  const asked = provider.requests.length
  const start = '{"model":"m","a":"'
  const most = `${start}${'x'.repeat(10 * MIB - start.length - 2)}"}`
  // Not the usual one, which would parse 10 MiB in this very process.
  provider.queue(chat({ model: 'm' }), chat({ model: 'm' }))
  const rich = await mintToken(t, gateway, { credits: 1_000_000_000 })
  const whole = await costOf(() => post(gateway, CHAT, most, bearer(rich)))
  t.equal(whole.result.status, 200, whole.result.text)
  t.ok(whole.spentMs < mostMs, `${whole.spentMs} of ${Math.round(mostMs)} ms`)
  const many = await costOf(() => post(gateway, CHAT, LISTS, bearer(rich)))
  t.ok(many.result.status < 500, many.result.text.slice(0, 200))
  t.ok(many.spentMs < mostMs, `lists: ${many.spentMs} of ${Math.round(mostMs)} ms`)
  const passed = provider.requests.length
  t.equal(passed, asked + 2)

  const announced = await post(gateway, CHAT, `${most} `, bearer(rich))
  t.equal(announced.status, 413)
  t.equal(announced.json().error.code, 'request_too_large')
  const chunk = Buffer.from(`${(10 * MIB + 1).toString(16)}\r\n${most} \r\n0\r\n\r\n`)
  const chunked = await rawRequest(
    gateway.port,
    Buffer.concat([Buffer.from(postHead('Connection: close\r\nTransfer-Encoding: chunked\r\n')), chunk]),
  )
  t.equal(statusOf(chunked), 413)
  t.equal(provider.requests.length, passed, 'nobody was asked')
})

t.test('after a refused body the connection goes on, or is closed', async (t) => {
  const announced = postHead(`Content-Length: ${11 * MIB}\r\n`)
  const next = 'GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
  const answer = await rawRequest(
    gateway.port,
    Buffer.concat([Buffer.from(announced), Buffer.alloc(11 * MIB, 32), Buffer.from(next)]),
  )
  t.equal(statusOf(answer), 413)
  t.ok(answer.includes('{"status":"ok"}') || /connection: close/i.test(answer), answer)
})

t.test(
  'after all of it the same process serves, holds nothing and has charged nothing for refusals',
  async (t) => {
    const asked = provider.requests.length
    const reply = await post(gateway, CHAT, { model: 'm', messages: [] }, bearer(token))
    t.equal(reply.status, 200)
    t.equal(provider.requests.length, asked + 1)
    const after = await credits(gateway, token)
    t.equal(after.held, 0)
    t.equal(after.credited, after.balance + after.charged)
    t.ok(after.charged < before.charged + 1_000_000)
    const complaints = gateway.lines().filter(({ level }) => level === 'error' || level === 'fatal')
    t.strictSame(complaints, [], 'nobody was refused by accident')
    const grown = (rss() - rssAtStart) / 1024
    t.ok(grown < 400, `grew by ${Math.round(grown)} MiB`)
  },
)
