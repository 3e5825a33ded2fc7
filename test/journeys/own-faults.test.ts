import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { bodyOf, codeOf, statusOf } from '../support/hostile.ts'
import { startJourney } from '../support/journey.ts'
import { createWaiting } from '../support/waiting.ts'

const ANSWER = '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
const CHAT = '/v1/chat/completions'
const { gateway, providers, token } = await startJourney(t, {
  providers: ['main', 'named'],
  servers: { named: { host: 'localhost' } },
  models: {
    m: { plan: [{ provider: 'main' }] },
    named: { plan: [{ provider: 'named' }, { provider: 'main' }] },
    heard: { plan: [{ provider: 'main' }], price: { perSecond: 1 } },
  },
})

/** Whether or not it came in chunks. */
const jsonOf = (answer: string): string => /\{.*\}/s.exec(bodyOf(answer))?.[0] ?? ''

const requestText = (path: string, type: string, body: string): string => {
  const auth = `Host: a\r\nAuthorization: Bearer ${token}\r\n`
  return `POST ${path} HTTP/1.1\r\n${auth}Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}
const chatText = (model: string): string =>
  requestText(CHAT, 'application/json', JSON.stringify({ model, messages: [] }))

/** A connection that stands, and asks again and again. */
async function openClient() {
  const socket: Socket = connect(gateway.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const waiting = createWaiting()
  let said = ''
  socket
    .on('error', () => undefined)
    .on('data', (bytes) => {
      said += bytes
      waiting.check()
    })
  await once(socket, 'connect')
  const ask = (text = chatText('m')): Promise<string> => {
    said = ''
    socket.write(text)
    return waiting.until(
      'an answer',
      () => (/\r\n\r\n.*\}(\r\n0\r\n\r\n)?$/s.test(said) ? said : undefined),
      20_000,
    )
  }
  return { ask }
}

const limitFiles = (files: number): boolean =>
  spawnSync('prlimit', ['--pid', String(gateway.pid), `--nofile=${files}:`]).status === 0

t.test('a gateway out of descriptors says so, and rests no provider for it', async (t) => {
  const client = await openClient()
  t.equal(statusOf(await client.ask()), 200)
  // Its connection to the provider must be gone: the next one needs a descriptor that is not there.
  providers.main.answer({
    act: ({ res, leaving }) => {
      leaving()
      res.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end(ANSWER)
    },
  })
  t.equal(statusOf(await client.ask()), 200)
  const open = readdirSync(`/proc/${gateway.pid}/fd`).map(Number)
  // All below the largest one are taken, or will be.
  if (!limitFiles(3)) return t.comment('left out: needs prlimit')
  for (let i = 0; i < 8; i++) {
    const answer = await client.ask()
    t.equal(statusOf(answer), 503, answer)
    t.equal(codeOf(jsonOf(answer)), 'gateway_busy')
    t.match(answer, /x-should-retry: true/i)
    t.match(answer, /retry-after-ms: \d+/i)
  }
  t.ok(limitFiles(Math.max(...open) + 1_000))
  t.equal(statusOf(await client.ask()), 200, 'at once: it was asked for nothing and rests not')
  await gateway.waitForLine(({ msg, reason }) => /could not send/.test(msg) && reason === 'EMFILE')
  const said = gateway.lines().filter(({ msg }) => msg === 'provider failed')
  t.same(said, [])
})

t.test(
  'whoever could ask nobody asks no second provider, and a name that cannot be looked up is ours',
  async (t) => {
    const client = await openClient()
    t.equal(statusOf(await client.ask(chatText('named'))), 200)
    const open = readdirSync(`/proc/${gateway.pid}/fd`).map(Number)
    providers.named.answer({
      act: ({ res, leaving }) => {
        leaving()
        res.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end(ANSWER)
      },
    })
    t.equal(statusOf(await client.ask(chatText('named'))), 200)
    const asked = providers.main.requests.length
    if (!limitFiles(3)) return t.comment('left out: needs prlimit')
    for (let i = 0; i < 8; i++) {
      const answer = await client.ask(chatText('named'))
      t.equal(statusOf(answer), 503, answer)
      t.match(answer, /x-gateway-attempts: 1\r/i)
    }
    const upload = ['--b', 'Content-Disposition: form-data; name="file"; filename="a.mp3"', '', 'sound']
    const model = ['--b', 'Content-Disposition: form-data; name="model"', '', 'heard', '--b--', '']
    const body = [...upload, ...model].join('\r\n')
    const stored = await client.ask(
      requestText('/v1/audio/transcriptions', 'multipart/form-data; boundary=b', body),
    )
    t.equal(statusOf(stored), 503, 'an upload that must be stored has nowhere to go')
    t.match(stored, /retry-after: \d+/i)
    t.ok(limitFiles(Math.max(...open) + 1_000))
    t.equal(statusOf(await client.ask(chatText('named'))), 200)
    t.equal(providers.main.requests.length, asked, 'the second was not asked')
    const line = await gateway.waitForLine(
      ({ msg, provider }) => /could not send/.test(msg) && provider === 'named',
    )
    t.match(line, { reason: 'EMFILE', msg: /raise "ulimit -n": LimitNOFILE=/ })
    t.same(
      gateway.lines().filter(({ msg }) => msg === 'provider failed'),
      [],
    )
  },
)
