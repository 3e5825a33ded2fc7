import { connect } from 'node:net'
import t from 'tap'
import { chat } from '../support/answers.ts'
import { openBody, sendInChunks } from '../support/body-client.ts'
import { bearer, post } from '../support/client.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { codeOf, statusOf } from '../support/hostile.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { gaugeOf } from '../support/memory.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { startRedis } from '../support/redis.ts'

const CHAT = '/v1/chat/completions'
const MIB = 1024 * 1024
const models = { m: { plan: [{ provider: 'main' }] } }

const bodyOf = (length: number): string => {
  const around = (text: string) => JSON.stringify({ model: 'm', messages: [{ role: 'user', content: text }] })
  return around('x'.repeat(length - around('').length))
}

t.test('a body in several pieces is read whole, however long its token is looked up', async (t) => {
  const redis = await startRedis(t)
  const provider = await startProvider(t)
  const REDIS_URL = `redis://127.0.0.1:${redis.port}`
  const env = { ...providerKeys('main'), REDIS_URL, RATE_LIMIT_PER_MINUTE: '100000' }
  const path = modelsFile(t, { providers: { main: provider.url }, models })
  const gateway = await startGateway(t, { modelsFile: path, env })
  const token = await mintToken(t, { dbDir: temporaryFolder(t), env: { REDIS_URL } })
  provider.answer(chat())
  for (const length of [40_000, 66_000, 100_000, 130_000])
    for (let round = 0; round < 4; round++) {
      const { status, text } = await post(gateway, CHAT, bodyOf(length), bearer(token))
      t.equal(status, 200, `${length}: ${text.slice(0, 100)}`)
    }
})

t.test('without Redis', async (t) => {
  const env = {
    BODY_MEMORY_BYTES: String(32 * MIB),
    IDLE_TIMEOUT_MS: '1500',
    RATE_LIMIT_PER_MINUTE: '100000',
  }
  const { gateway, token, providers } = await startJourney(t, { providers: ['main'], models, env })
  const admin = await mintToken(t, gateway, { type: 'admin', user: 'metrics' })
  const here = () => gaugeOf(gateway, admin, 'gateway_body_bytes')

  await t.test('a path that is not there is answered without its body', async (t) => {
    for (const line of [
      'POST /nothing',
      'PUT /health',
      'POST /v1/nothing',
      `PUT ${CHAT}`,
      'DELETE /v1/models',
    ]) {
      const socket = connect(gateway.port, '127.0.0.1')
      t.teardown(() => socket.destroy())
      let said = ''
      socket
        .on('error', () => undefined)
        .on('data', (bytes) => {
          said += bytes.toString('latin1')
        })
      socket.write(
        `${line} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{"a":`,
      )
      await waitUntil(
        () => said,
        (text) => text.includes('}'),
      )
      t.equal(statusOf(said), 404, line)
    }
  })

  await t.test('a body without a length is asked for its price while it comes', async (t) => {
    const poor = await mintToken(t, gateway, { user: 'poor', credits: 1 })
    const client = openBody(t, { port: gateway.port, token: poor })
    const piece = 'x'.repeat(32 * 1024)
    await client.write(`${(10).toString(16)}\r\n{"model":"\r\n`)
    // The rest never comes: it is refused for what is here.
    for (let n = 0; n < 4; n++) await client.write(`${piece.length.toString(16)}\r\n${piece}\r\n`)
    const answer = await client.answer()
    t.equal(codeOf(answer.slice(answer.indexOf('\r\n\r\n') + 4)), 'insufficient_quota')
  })

  await t.test('a small body without a length begins beside large ones', async (t) => {
    providers.main.answer(chat())
    const holders = []
    for (let n = 0; n < 8; n++) {
      const rich = await mintToken(t, gateway, { user: `rich${n}`, credits: 100_000_000 })
      for (let m = 0; m < 4; m++) {
        const client = openBody(t, { port: gateway.port, token: rich })
        void client.write(`${(3 * MIB).toString(16)}\r\n${'x'.repeat(2 * MIB)}`)
        holders.push(client)
      }
    }
    await waitUntil(here, (bytes) => bytes > 8 * MIB)
    for (let n = 0; n < 5; n++) {
      const began = performance.now()
      const client = openBody(t, { port: gateway.port, token })
      await sendInChunks(client, Buffer.from(bodyOf(100)), 50)
      t.equal(statusOf(await client.answer()), 200)
      t.ok(performance.now() - began < 4000, 'it did not wait for the others to give up')
      client.socket.destroy()
    }
    for (const { socket } of holders) socket.destroy()
    await waitUntil(here, (bytes) => bytes === 0)
  })

  await t.test('answers given again are counted while nobody reads them, and cut', async (t) => {
    providers.main.answer(chat({ content: 'y'.repeat(900_000) }))
    const key = { ...bearer(token), 'idempotency-key': 'again' }
    t.equal((await post(gateway, CHAT, bodyOf(100), key)).status, 200)
    const again = await post(gateway, CHAT, bodyOf(100), key)
    t.equal(again.headers['idempotent-replayed'], 'true')
    t.ok(again.body.length > 900_000)
    t.equal(again.headers['content-length'], String(again.body.length))
    const request =
      `POST ${CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nIdempotency-Key: again\r\n` +
      `Content-Type: application/json\r\nContent-Length: 100\r\n\r\n${bodyOf(100)}`
    const clients = Array.from({ length: 4 }, () => {
      const socket = connect(gateway.port, '127.0.0.1').pause()
      t.teardown(() => socket.destroy())
      socket.on('error', () => undefined)
      socket.write(request.repeat(60))
      return socket
    })
    const most = { bytes: 0 }
    await waitUntil(here, (bytes) => {
      most.bytes = Math.max(most.bytes, bytes)
      return bytes > 2 * MIB
    })
    t.ok(most.bytes < 33 * MIB, `${most.bytes} bytes within the budget`)
    await waitUntil(here, (bytes) => bytes === 0)
    for (const socket of clients) socket.destroy()
  })
})
