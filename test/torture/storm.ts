import { setTimeout as wait } from 'node:timers/promises'
import { bearer, credits, openStream } from '../support/client.ts'
import { mintToken } from '../support/gateway.ts'
import { startJourney } from '../support/journey.ts'
import { createRandom } from '../support/odd-answers.ts'
import type { Owner } from '../support/waiting.ts'
import type { Findings } from './kills.ts'
import { StormProvider, type Told } from './storm-provider.ts'

const NAMES = ['one', 'two', 'three'] as const
const TOKENS = 20
const PER_SECOND = 100
const CREDITS = 1_000_000

export interface Storm {
  seconds: number
  seed?: number
}

interface Client {
  secret: string
  /** What its requests are to cost. */
  words: string[]
}

interface Scene {
  gateway: { port: number }
  clients: Client[]
  storms: StormProvider[]
  told: Told
  random: () => number
  faults: string[]
  outcomes: Record<string, number>
}

/**
 * Three providers that fail in random ways, under mixed traffic of twenty tokens: no request fails while one was well,
 * attempts stay in bounds, and what was delivered is charged, to the token.
 */
export async function storm(
  owner: Owner,
  { seconds, seed = Date.now() % 100_000 }: Storm,
): Promise<Findings> {
  const random = createRandom(seed)
  const told: Told = { delivered: new Map(), cut: new Set() }
  const { gateway, providers } = await openGateway(owner)
  const secrets = await mintAll(owner, gateway)
  const storms = NAMES.map(() => new StormProvider(told, random))
  const clients = secrets.map((secret) => ({ secret, words: [] }))
  const scene: Scene = { gateway, clients, storms, told, random, faults: [], outcomes: {} }
  const until = performance.now() + seconds * 1000
  const goesOn = () => performance.now() < until
  const weather = storms.map((one, i) => one.run(providers[NAMES[i] ?? 'one'], goesOn))
  const sent = await sendAll(scene, goesOn)
  await Promise.all(weather)
  const attempts = NAMES.reduce((sum, name) => sum + providers[name].requests.length, 0)
  // Ten retries a second for each provider that is asked again.
  const most = Math.ceil(sent * 1.2 + 10 * seconds * (NAMES.length - 1))
  if (attempts > most) scene.faults.push(`${attempts} attempts of ${sent} requests: more than ${most}`)
  for (const client of clients) await checkBill(scene, client)
  const ends = Object.entries(scene.outcomes).map(([end, count]) => `${count} ${end}`)
  const figures = `seed ${seed}: ${sent} requests, ${attempts} attempts (at most ${most}); ${ends.join(', ')}`
  return { faults: scene.faults, figures }
}

async function openGateway(owner: Owner) {
  const price = { input: 0, output: 1 }
  const planOf = (...names: string[]) => ({
    plan: names.map((provider) => ({ provider, model: 'm' })),
    price,
    // Who was asked in vain may be asked for again: the storm is about who answers.
    retryAfterTimeout: true,
  })
  return startJourney<(typeof NAMES)[number]>(owner, {
    providers: NAMES,
    models: {
      first: planOf('one', 'two', 'three'),
      second: planOf('two', 'three', 'one'),
      third: planOf('three', 'one', 'two'),
    },
    env: { FIRST_BYTE_TIMEOUT_MS: '800', ANSWER_TIMEOUT_MS: '800', IDLE_TIMEOUT_MS: '800' },
    token: { user: 'nobody' },
  })
}

/** Five commands at once: more would only take turns. */
async function mintAll(owner: Owner, gateway: { dbDir: string }): Promise<string[]> {
  const secrets: string[] = []
  while (secrets.length < TOKENS) {
    const users = Array.from({ length: 5 }, (_, i) => `storm ${secrets.length + i}`)
    const minted = users.map((user) => mintToken(owner, gateway, { user, credits: CREDITS }))
    secrets.push(...(await Promise.all(minted)))
  }
  return secrets
}

async function sendAll(scene: Scene, goesOn: () => boolean): Promise<number> {
  const running: Promise<void>[] = []
  const from = performance.now()
  while (goesOn()) {
    while (running.length < ((performance.now() - from) * PER_SECOND) / 1000)
      running.push(sendOne(scene, running.length))
    await wait(5)
  }
  await Promise.all(running)
  return running.length
}

async function sendOne({ gateway, clients, storms, told, random, faults, outcomes }: Scene, index: number) {
  const client = clients[index % clients.length]
  if (!client) return
  const word = `request ${index}`
  client.words.push(word)
  const model = ['first', 'second', 'third'][Math.floor(random() * 3)]
  const body = {
    model,
    max_tokens: 50,
    stream: random() < 0.5,
    user: word,
    messages: [{ role: 'user', content: 'hi' }],
  }
  const from = performance.now()
  const answer = await openStream(gateway, {
    path: '/v1/chat/completions',
    headers: bearer(client.secret),
    body,
  })
  const { text, cut } = await answer.rest()
  const isWhole = answer.status === 200 && !cut && (body.stream ? /\[DONE\]\n\n$/ : /"choices":/).test(text)
  const end = isWhole ? 'answered' : told.cut.has(word) ? 'cut' : `failed (${answer.status})`
  outcomes[end] = (outcomes[end] ?? 0) + 1
  const well = NAMES.filter((_, i) => storms[i]?.hasBeenWell(from))
  if (end.startsWith('failed') && well.length > 0)
    faults.push(`${word} (${model}): ${end} while ${well.join()} was well: ${text.slice(0, 100)}`)
}

/** Once nothing is held: exactly what was delivered. */
async function checkBill({ gateway, told, faults }: Scene, { secret, words }: Client): Promise<void> {
  let seen = await credits(gateway, secret)
  for (let i = 0; i < 100 && seen.held > 0; i++) {
    await wait(50)
    seen = await credits(gateway, secret)
  }
  const delivered = words.reduce((sum, word) => sum + (told.delivered.get(word) ?? 0), 0)
  if (seen.charged !== delivered || seen.held !== 0)
    faults.push(`${delivered} tokens were delivered, ${seen.charged} charged, ${seen.held} are still held`)
}
