import { setTimeout as wait } from 'node:timers/promises'
import { usualBodyMemory } from '../../src/config/env/settings.ts'
import type { Answer } from '../support/behaviour.ts'
import { type BodyClient, openBody, sendInChunks } from '../support/body-client.ts'
import { bearer, post } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { statusOf } from '../support/hostile.ts'
import { waitUntil } from '../support/journey.ts'
import { gaugeOf, residentMib } from '../support/memory.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import type { Owner } from '../support/waiting.ts'
import type { Findings } from './kills.ts'
import { limitMemory } from './memory-limit.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const CHAT = '/v1/chat/completions'
/** As `docker-compose.prod.yml` has it. */
const LIMIT_BYTES = GIB
const BODIES = 119
const ROUNDS = 3
const MOST_MIB = 700
/** Some of it is the collector's and the allocator's, who have no reason to hurry: it is used again (see the rounds). */
const MOST_LEFT_MIB = 350
const SETTLE_MS = 5_000
const MOST_P99_MS = 1_000

const USAGE = '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
/** Answers the small ones at once; of the large ones it reads nothing for a while. */
const answer: Answer = {
  early: true,
  async act({ req, res }) {
    const isLarge = Number(req.headers['content-length'] ?? 0) > MIB
    if (isLarge) {
      req.pause()
      await wait(2_000)
      req.resume()
    }
    if (!req.complete) await new Promise((resolve) => req.once('end', resolve))
    res.writeHead(200, { 'content-type': 'application/json' }).end(USAGE)
  },
}

interface Victims {
  stop(): Promise<{ served: number; faults: string[]; p99Ms: number }>
}

/** Ordinary requests with a token of their own, one after the other. */
function startVictims(gateway: TestGateway, token: string): Victims {
  let isOn = true
  const tookMs: number[] = []
  const faults: string[] = []
  const ask = async () => {
    while (isOn) {
      const from = performance.now()
      const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
      const reply = await post(gateway, CHAT, body, bearer(token)).catch((error) => ({
        status: String(error),
      }))
      tookMs.push(performance.now() - from)
      if (reply.status !== 200) faults.push(`a victim got ${reply.status}`)
      await wait(20)
    }
  }
  const asking = Promise.all([ask(), ask(), ask()])
  return {
    async stop() {
      isOn = false
      await asking
      const sorted = tookMs.toSorted((a, b) => a - b)
      return { served: tookMs.length, faults, p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0 }
    },
  }
}

interface Attack {
  t: Owner
  gateway: TestGateway
  token: string
}

const start = 'x'.repeat(10 * MIB - 100)
const BODY = Buffer.from(`{"model":"m","messages":[],"a":"${start}"}`)

/** All at once; how many got which status. */
async function send(
  { t, gateway, token }: Attack,
  count: number,
  bytes: number,
): Promise<Record<string, number>> {
  const seen: Record<string, number> = {}
  const one = async () => {
    const client: BodyClient = openBody(t, { port: gateway.port, token, length: BODY.length })
    await client.write(BODY.subarray(0, bytes))
    const status = statusOf(await client.answer())
    seen[status] = (seen[status] ?? 0) + 1
    client.socket.destroy()
  }
  await Promise.all(Array.from({ length: count }, one))
  return seen
}

async function crumble({ t, gateway, token }: Attack): Promise<number> {
  const client = openBody(t, { port: gateway.port, token })
  await sendInChunks(client, BODY.subarray(0, 9 * MIB), 1)
  const status = statusOf(await client.answer())
  client.socket.destroy()
  return status
}

async function openTarget(t: Owner) {
  const provider = await startProvider(t, { keepBodies: false })
  provider.answer(answer)
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } }),
    env: {
      ...providerKeys('main'),
      RATE_LIMIT_PER_MINUTE: '1000000',
      // As in the image.
      MALLOC_MMAP_THRESHOLD_: '131072',
      BODY_MEMORY_BYTES: String(usualBodyMemory(LIMIT_BYTES, LIMIT_BYTES)),
    },
  })
  const mint = (user: string, credits: number) => mintToken(t, gateway, { user, credits })
  return { gateway, mint, admin: await mintToken(t, gateway, { type: 'admin', user: 'metrics' }) }
}

/**
 * Unfinished, whole, unpaid and crumbled bodies of 10 MiB, all at once and again, at a gateway with the memory of the
 * compose file: it lives, everybody else is served, and the memory comes back.
 */
export async function greedyBodies(t: Owner, progress: (done: number) => void): Promise<Findings> {
  const { gateway, mint, admin } = await openTarget(t)
  const victims = startVictims(gateway, await mint('victim', 100_000_000))
  await wait(1_000)
  const before = residentMib(gateway)
  const limit = limitMemory(gateway.pid, LIMIT_BYTES - before * MIB)
  if (limit === undefined) {
    await victims.stop()
    return { faults: [], figures: 'left out: needs the right to make a memory control group (root)' }
  }
  const [rich, poor] = [await mint('rich', 1_000_000_000), await mint('poor', 1)]
  const faults: string[] = []
  const seen: string[] = []
  for (let round = 1; round <= ROUNDS; round++) {
    const statuses = await Promise.all([
      send({ t, gateway, token: rich }, BODIES, BODY.length - 1),
      send({ t, gateway, token: poor }, BODIES, BODY.length - 1),
      send({ t, gateway, token: await mint(`other ${round}`, 1_000_000_000) }, 20, BODY.length),
      ...Array.from({ length: 4 }, async () => ({
        [`crumbled: ${await crumble({ t, gateway, token: rich })}`]: 1,
      })),
    ])
    seen.push(`${Math.round(residentMib(gateway))} MiB after ${JSON.stringify(statuses)}`)
    const [unfinished = {}, unpaid = {}] = statuses
    if (unpaid[429] !== BODIES) faults.push(`of ${BODIES} that could not be paid: ${JSON.stringify(unpaid)}`)
    if ((unfinished[503] ?? 0) + (unfinished[408] ?? 0) !== BODIES)
      faults.push(`of ${BODIES} unfinished: ${JSON.stringify(unfinished)}`)
    progress(round)
  }
  await wait(SETTLE_MS)
  const { served, faults: hurt, p99Ms } = await victims.stop()
  faults.push(...new Set(hurt))
  const most = residentMib(gateway, 'VmHWM')
  await waitUntil(
    () => gaugeOf(gateway, admin, 'gateway_body_bytes'),
    (bytes) => bytes === 0,
  )
  const left = residentMib(gateway) - before
  if (p99Ms > MOST_P99_MS) faults.push(`the victims' p99 was ${Math.round(p99Ms)} ms`)
  if (most > MOST_MIB) faults.push(`${Math.round(most)} MiB at the peak`)
  if (left > MOST_LEFT_MIB) faults.push(`${Math.round(left)} MiB did not come back`)
  await gateway.stop()
  limit.remove()
  const figures = `${ROUNDS} rounds of ${2 * BODIES + 24} bodies of 10 MiB: peak ${Math.round(most)} MiB, ${Math.round(left)} MiB more afterwards; ${served} requests of victims, p99 ${Math.round(p99Ms)} ms; ${seen.join('; ')}`
  return { faults, figures }
}
