import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { bearer, post } from '../support/client.ts'
import { bodyOf, codeOf, statusOf } from '../support/hostile.ts'
import { startJourney } from '../support/journey.ts'

const ANSWER = '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
const CHAT = '/v1/chat/completions'
const { gateway, providers, token } = await startJourney(t, {
  providers: ['main'],
  models: { m: { plan: [{ provider: 'main' }] } },
})

/** A connection that stands, and asks again and again. */
async function openClient() {
  const socket: Socket = connect(gateway.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  const ask = async (): Promise<string> => {
    const body = '{"model":"m","messages":[]}'
    socket.write(
      `POST ${CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    let answer = ''
    const signal = AbortSignal.timeout(20_000)
    while (!/\r\n\r\n.*\}$/s.test(answer)) answer += String((await once(socket, 'data', { signal }))[0])
    return answer
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
    t.equal(codeOf(bodyOf(answer)), 'gateway_busy')
    t.match(answer, /x-should-retry: true/i)
    t.match(answer, /retry-after-ms: \d+/i)
  }
  t.ok(limitFiles(Math.max(...open) + 1_000))
  t.equal(statusOf(await client.ask()), 200, 'at once: it was asked for nothing and rests not')
  const said = gateway.lines().filter(({ msg }) => msg === 'provider failed')
  t.same(said, [])
  t.ok(gateway.lines().some(({ msg, reason }) => /could not send/.test(msg) && reason === 'EMFILE'))
})

t.test('a header that cannot be sent on is the client’s mistake, not its providers’', async (t) => {
  const seen = providers.main.requests.length
  for (let i = 0; i < 8; i++) {
    const answer = await post(gateway, CHAT, '{"model":"m","messages":[]}', {
      ...bearer(token),
      'openai-beta': 'a\x7f',
    }).catch(() => undefined)
    if (answer) t.equal(answer.status, 400)
  }
  t.equal(providers.main.requests.length, seen)
  t.equal((await post(gateway, CHAT, { model: 'm', messages: [] }, bearer(token))).status, 200)
})
