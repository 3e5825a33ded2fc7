import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { json } from '../support/behaviour.ts'
import { bearer, credits, get, post, type Reply } from '../support/client.ts'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import { startRedis } from '../support/redis.ts'
import type { Owner } from '../support/waiting.ts'
import type { Findings } from './kills.ts'

const CHAT = '/v1/chat/completions'
const MIB = 1024 * 1024
const PER_TOKEN_BYTES = 8 * MIB
const REDIS_BYTES = 24 * MIB
const KEYS_PER_TOKEN = 3_000
const AT_ONCE = 8
/** Nobody waits for a neighbour: what a busy machine takes is far below. */
const LONGEST_MS = 3_000

const ask = (content: string) => ({ model: 'm', max_tokens: 5, messages: [{ role: 'user', content }] })
const answerOf = (bytes: number) =>
  json({
    id: 'a',
    choices: [{ index: 0, message: { role: 'assistant', content: 'x'.repeat(bytes) } }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  })
/** One that fills a disk, and one that fits beside its key. */
const [LARGE, SMALL] = [answerOf(900_000), answerOf(12_000)]

export interface Flood {
  store: 'files' | 'redis'
  /** How many keys the greedy token uses, each for an answer of its own. */
  requests: number
}

interface Scene {
  gateway: TestGateway
  greedy: string
  victim: string
  redis: Redis | undefined
}

/** One token asks under new keys as fast as it can, with answers near 1 MiB: it takes its share, and nobody else's. */
export async function floodWithAnswers(
  owner: Owner,
  flood: Flood,
  progress = (_: number) => {},
): Promise<Findings> {
  const scene = await openScene(owner, flood.store)
  const { gateway, greedy, victim } = scene
  const faults: string[] = []
  const key = randomUUID()
  const first = await askUnder(gateway, victim, key)
  const watch = watchVictim(gateway, victim)
  const { replies, last } = await sendAll(gateway, greedy, flood.requests, progress)
  const seen = await watch.end()
  faults.push(...seen.faults)
  const again = await askUnder(gateway, victim, key)
  if (again.text !== first.text || again.headers['idempotent-replayed'] !== 'true')
    faults.push(`the victim's answer did not come again: ${again.status} ${again.text.slice(0, 200)}`)
  if (last !== undefined) faults.push(...(await checkLast(gateway, greedy, last)))
  const odd = replies.filter(
    (status) => status !== 200 && !(status === 429 && flood.requests > KEYS_PER_TOKEN),
  )
  if (odd.length > 0) faults.push(`the greedy one's requests ended with ${[...new Set(odd)]}`)
  const size = await sizesOf(scene)
  faults.push(...size.faults)
  const counts = `${replies.filter((status) => status === 200).length} of ${flood.requests} paid`
  return {
    faults,
    figures: `${flood.store}: ${counts}, victim at most ${Math.round(seen.longestMs)} ms, ${size.figures}`,
  }
}

/** The long form: files and Redis, until the keys of the day are used up. */
export async function clientsAnswers(owner: Owner, progress = (_: number) => {}): Promise<Findings> {
  const files = await floodWithAnswers(owner, { store: 'files', requests: 5_000 }, progress)
  const redis = await floodWithAnswers(owner, { store: 'redis', requests: 5_000 }, progress)
  return { faults: [...files.faults, ...redis.faults], figures: `${files.figures}; ${redis.figures}` }
}

async function openScene(owner: Owner, store: Flood['store']): Promise<Scene> {
  const provider = await startProvider(owner, { keepBodies: false })
  provider.answer((seen) => (seen.bodyBytes % 2 === 0 ? LARGE : SMALL))
  const server =
    store === 'redis'
      ? await startRedis(owner, ['--maxmemory', String(REDIS_BYTES), '--maxmemory-policy', 'noeviction'])
      : undefined
  const shared: Record<string, string> = server ? { REDIS_URL: server.url } : {}
  const gateway = await startGateway(owner, {
    modelsFile: modelsFile(owner, { providers: { main: provider.url }, models: { m: 'main' } }),
    env: {
      ...providerKeys('main'),
      ...shared,
      RATE_LIMIT_PER_MINUTE: '1000000000',
      IDEMPOTENCY_BYTES_PER_TOKEN: String(PER_TOKEN_BYTES),
      IDEMPOTENCY_KEYS_PER_TOKEN: String(KEYS_PER_TOKEN),
    },
  })
  const place = { dbDir: gateway.dbDir, env: shared }
  const [greedy, victim] = [
    await mintToken(owner, place, { user: 'greedy', credits: 100_000_000 }),
    await mintToken(owner, place, { user: 'victim', credits: 100_000_000 }),
  ]
  const redis = server && new Redis(server.port)
  owner.teardown(() => redis?.disconnect())
  return { gateway, greedy, victim, redis }
}

/** A body of odd length gets a small answer. */
const bodyOf = (content: string, isLarge: boolean) => {
  const text = JSON.stringify(ask(content))
  return (Buffer.byteLength(text) % 2 === 0) === isLarge ? text : JSON.stringify(ask(`${content} `))
}

const askUnder = (gateway: TestGateway, token: string, key: string, isLarge = false): Promise<Reply> =>
  post(gateway, CHAT, Buffer.from(bodyOf(key, isLarge)), {
    ...bearer(token),
    'content-type': 'application/json',
    'idempotency-key': key,
  })

async function sendAll(
  gateway: TestGateway,
  token: string,
  requests: number,
  progress: (done: number) => void,
) {
  const replies: number[] = []
  let [sent, last]: [number, string | undefined] = [0, undefined]
  const work = async (): Promise<void> => {
    while (sent < requests) {
      const [number, key] = [++sent, randomUUID()]
      const { status } = await askUnder(gateway, token, key, number % 2 === 0)
      replies.push(status)
      if (status === 200 && number % 2 === 1) last = key
      progress(replies.length)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return { replies, last }
}

/** Asks plainly all the while. */
function watchVictim(gateway: TestGateway, token: string) {
  const faults: string[] = []
  let [longestMs, isOver] = [0, false]
  const watch = async (): Promise<void> => {
    while (!isOver) {
      const from = performance.now()
      const { status, text } = await post(gateway, CHAT, Buffer.from(bodyOf('plain', false)), {
        ...bearer(token),
        'content-type': 'application/json',
      })
      longestMs = Math.max(longestMs, performance.now() - from)
      if (status !== 200 && faults.length < 5) faults.push(`the victim got ${status}: ${text.slice(0, 200)}`)
      await wait(20)
    }
    if (longestMs > LONGEST_MS) faults.push(`the victim waited for ${Math.round(longestMs)} ms`)
  }
  const watching = watch()
  const end = async () => {
    isOver = true
    await watching
    return { faults, longestMs }
  }
  return { end }
}

/** Given again or over: charged again it is never. */
async function checkLast(gateway: TestGateway, token: string, key: string): Promise<string[]> {
  const before = await credits(gateway, token)
  const again = await askUnder(gateway, token, key, false)
  const after = await credits(gateway, token)
  const isRight = again.headers['idempotent-replayed'] === 'true' || again.status === 409
  const faults = isRight ? [] : [`the last key answered ${again.status}: ${again.text.slice(0, 200)}`]
  if (after.charged !== before.charged) faults.push('a key was charged twice')
  return faults
}

async function sizesOf({ gateway, redis }: Scene): Promise<Findings> {
  const faults: string[] = []
  const folder = join(gateway.dbDir, 'answers')
  // Files that had to go are unlinked behind the answer.
  await wait(200)
  const files = existsSync(folder) ? readdirSync(folder).map((name) => statSync(join(folder, name)).size) : []
  const diskBytes = files.reduce((sum, size) => sum + size, 0)
  const ledgerBytes = statSync(join(gateway.dbDir, 'usage.sqlite')).size
  if (diskBytes > PER_TOKEN_BYTES + MIB) faults.push(`${diskBytes} bytes of answers are on the disk`)
  if (ledgerBytes > PER_TOKEN_BYTES + 16 * MIB) faults.push(`usage.sqlite has ${ledgerBytes} bytes`)
  const ready = await get(gateway, '/ready')
  if (ready.status !== 200) faults.push(`/ready is ${ready.status}`)
  const figures = `${(diskBytes / MIB).toFixed(1)} MiB in files, ${(ledgerBytes / MIB).toFixed(1)} MiB in usage.sqlite`
  if (!redis) return { faults, figures }
  const usedBytes = Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1])
  if (usedBytes > 0.9 * REDIS_BYTES) faults.push(`Redis uses ${usedBytes} bytes`)
  return { faults, figures: `${figures}, ${(usedBytes / MIB).toFixed(1)} MiB in Redis` }
}
