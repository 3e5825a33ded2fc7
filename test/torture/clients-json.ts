import { setTimeout } from 'node:timers/promises'
import { json } from '../support/behaviour.ts'
import { bearer, get, post, rawRequest } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { watchStarvation } from '../support/starvation.ts'
import type { Owner } from '../support/waiting.ts'
import type { Findings } from './kills.ts'

const CHAT = '/v1/chat/completions'
const FULL_BYTES = 10 * 1024 * 1024 - 200
/** Nobody reports usage: everything is counted here. */
const UNCOUNTED = json({ id: 'a', choices: [{ message: { role: 'assistant', content: 'Hello' } }] })

const fill = (text: string, bytes = FULL_BYTES): string =>
  text.repeat(Math.floor(bytes / Buffer.byteLength(text)))
const hanzi = (): string =>
  Array.from({ length: 80_000 }, (_, i) => String.fromCharCode(0x4e00 + ((i * 7919) % 19_997))).join('')

interface Attack {
  name: string
  path?: string
  body: () => string
  headers?: Record<string, string>
}

/** Valid JSON, and what passes for it, whose reading takes long. */
const ATTACKS: readonly Attack[] = [
  { name: 'models', body: () => `{${fill('"model":"x",')}"model":"m"}` },
  { name: 'keys', body: () => `{${fill('"a":1,')}"model":"m"}` },
  { name: 'options', body: () => `{"model":"m","stream_options":{${fill('"a":1,')}"b":1}}` },
  { name: 'lists', body: () => `{"model":"m","a":[${fill('[],')}[]]}` },
  { name: 'words', body: () => `{"model":"m","a":[${fill('true,')}1]}` },
  { name: 'images', body: () => `{"model":"m","a":["${fill('\\"image')}"]}` },
  { name: 'names', body: () => `{${fill('"\\u00e9":1,')}"model":"m"}` },
  { name: 'tools', body: () => `{"model":"m","tools":[${fill('{},')}{}]}` },
  { name: 'speech', path: '/v1/audio/speech', body: () => `{"model":"m","input":"${fill('\\u0061')}"}` },
  { name: 'key', body: () => `{"model":"m","a":"${fill('x')}"}`, headers: { 'idempotency-key': 'k' } },
  {
    name: 'text',
    body: () => JSON.stringify({ model: 'm', messages: [{ role: 'user', content: hanzi() }] }),
  },
]

/** The event loop's longest stall since the last look, in milliseconds. */
const longestStallMs = async (gateway: TestGateway): Promise<number> => {
  const reply = await get(gateway, '/metrics', bearer(gateway.masterToken))
  return Number(/^nodejs_eventloop_lag_max_seconds ([\d.e+-]+)/m.exec(reply.text)?.[1] ?? Number.NaN) * 1000
}

/** Asks small questions one after the other; resolves with the longest answering time. */
const watchVictim = (gateway: TestGateway, token: string) => {
  let isOver = false
  let longestMs = 0
  let answered = 0
  const faults = new Set<number>()
  const run = async (): Promise<void> => {
    while (!isOver) {
      const from = performance.now()
      const { status } = await post(gateway, CHAT, { model: 'm', max_tokens: 5, messages: [] }, bearer(token))
      longestMs = Math.max(longestMs, performance.now() - from)
      if (status !== 200) faults.add(status)
      answered += 1
      await setTimeout(5)
    }
  }
  const running = run()
  return async () => {
    isOver = true
    await running
    return { longestMs, answered, faults: [...faults] }
  }
}

/** A form whose field comes byte by byte, each byte a chunk of its own. */
const sendSlowForm = ({ port }: TestGateway, token: string): Promise<unknown> => {
  const part = '--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
  const bytes = `${part}${'p'.repeat(60_000)}\r\n--x--\r\n`
  const head =
    `POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n` +
    'Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n'
  const chunks = [...bytes].map((byte) => `1\r\n${byte}\r\n`).join('')
  return rawRequest(port, Buffer.from(`${head}${chunks}0\r\n\r\n`))
}

/**
 * Every attack, four at once from one token with a credit and from one that can pay, beside a victim: for so long may the
 * event loop stand still at most, and a victim wait twice as long.
 */
export async function blockingBodies(
  owner: Owner,
  { rounds, mostMs }: { rounds: number; mostMs: number },
): Promise<Findings> {
  const provider = await startProvider(owner, { keepBodies: false })
  provider.answer(UNCOUNTED)
  const gateway = await startGateway(owner, {
    modelsFile: modelsFile(owner, { providers: { main: provider.url }, models: { m: 'main' } }),
    env: { ...providerKeys('main'), RATE_LIMIT_PER_MINUTE: '1000000' },
  })
  const victim = await mintToken(owner, gateway)
  const poor = await mintToken(owner, gateway, { credits: 1 })
  const rich = await mintToken(owner, gateway, { credits: 1_000_000_000 })
  const starvation = watchStarvation(owner)
  const faults: string[] = []
  let worst = { name: '', ms: 0 }
  // What is loaded at the first need is no attack.
  await post(gateway, CHAT, { model: 'm', messages: [] }, bearer(victim))
  await longestStallMs(gateway)
  const judge = async (name: string, attack: () => Promise<unknown>): Promise<void> => {
    const starvedMs = starvation.ms()
    await longestStallMs(gateway)
    const stop = watchVictim(gateway, victim)
    await attack()
    const seen = await stop()
    const stallMs = await longestStallMs(gateway)
    const most = mostMs + starvation.ms() - starvedMs
    const ms = Math.max(stallMs, seen.longestMs)
    if (ms > worst.ms) worst = { name, ms }
    if (!(stallMs < most)) faults.push(`${name}: the event loop stood still for ${Math.round(stallMs)} ms`)
    if (!(seen.longestMs < 2 * most)) faults.push(`${name}: a victim waited ${Math.round(seen.longestMs)} ms`)
    if (seen.faults.length > 0) faults.push(`${name}: a victim got ${seen.faults}`)
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, path = CHAT, body, headers = {} } of ATTACKS) {
      const bytes = Buffer.from(body())
      const send = (token: string, n: number) =>
        post(gateway, path, bytes, {
          ...bearer(token),
          ...headers,
          ...(headers['idempotency-key'] ? { 'idempotency-key': `${name}-${round}-${n}` } : {}),
        }).catch(() => undefined)
      await judge(name, () => Promise.all([poor, poor, rich, rich].map(send)))
    }
    await judge('form', () => Promise.all([1, 2].map(() => sendSlowForm(gateway, poor))))
  }
  const figures = `${rounds} rounds of ${ATTACKS.length + 1} attacks, the worst "${worst.name}" with ${Math.round(worst.ms)} ms`
  return { faults, figures }
}
