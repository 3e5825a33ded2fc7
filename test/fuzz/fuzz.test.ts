import t from 'tap'
import { bearer, credits, get, post } from '../support/client.ts'
import { clientsOf, descriptorsOf, residentMiB } from '../support/descriptors.ts'
import { bodyOf, codeOf, statusOf } from '../support/hostile.ts'
import { waitUntil } from '../support/journey.ts'
import { keptCases } from './kept-cases.ts'
import { judge, play } from './play.ts'
import { openFuzzScene, playAll, range } from './scene.ts'

// `FUZZ_SEED=7 FUZZ_ONLY=12,34 npx tap run test/fuzz/fuzz.test.ts` plays two cases of a run once more.
const SEED = Number(process.env.FUZZ_SEED ?? 20_261_128)
const CASES = Number(process.env.FUZZ_CASES ?? 20_000)
const ONLY = process.env.FUZZ_ONLY?.split(',').map(Number)
/** Before the memory is looked at for the first time: code is compiled, pools are filled. */
const WARM_CASES = 2_000
const MOST_GROWTH_MIB = 150

t.setTimeout(600_000)
const scene = await openFuzzScene(t)
const { gateway, token } = scene
const descriptors = descriptorsOf(gateway)

t.test('what once went wrong does not go wrong again', async (t) => {
  for (const [name, bytes] of keptCases({ token })) {
    const made = {
      writes: [Buffer.from(bytes, 'latin1')],
      ending: 'half-close',
      lingerMs: 0,
      isWhole: false,
    } as const
    const seen = await play(gateway.port, made)
    t.equal(judge(made, seen), undefined, name)
    if (statusOf(seen.text) >= 400)
      t.type(codeOf(bodyOf(seen.text).split('HTTP/1.1')[0] ?? ''), 'string', name)
  }
})

t.test(`${CASES} odd clients of the seed ${SEED} are answered, and none hurts`, async (t) => {
  t.comment(`FUZZ_SEED=${SEED}`)
  const started = performance.now()
  const faults = ONLY
    ? await playAll(scene, SEED, ONLY.values())
    : await playAll(scene, SEED, range(0, WARM_CASES))
  const warmMiB = residentMiB(gateway)
  if (!ONLY) faults.push(...(await playAll(scene, SEED, range(WARM_CASES, CASES))))
  t.comment(`${Math.round(performance.now() - started)} ms, ${warmMiB} to ${residentMiB(gateway)} MiB`)
  t.strictSame(faults.slice(0, 20), [], `${faults.length} faults`)
  await waitUntil(
    () => clientsOf(gateway),
    (now) => now === 0,
  )
  await waitUntil(
    () => descriptorsOf(gateway),
    (now) => now <= descriptors + 10,
  )
  await waitUntil(
    () => residentMiB(gateway),
    (now) => now <= warmMiB + MOST_GROWTH_MIB,
  )
})

t.test(
  'after all of it the same process serves, its books are right and its log names no error',
  async (t) => {
    const auth = bearer(token)
    const answer = await post(
      gateway,
      '/v1/chat/completions',
      { model: 'm', messages: [{ role: 'user', content: 'hi' }] },
      auth,
    )
    t.equal(answer.status, 200)
    t.equal((await get(gateway, '/health')).status, 200)
    const seen = await waitUntil(
      () => credits(gateway, token),
      ({ held }) => held === 0,
    )
    t.equal(seen.credited, seen.balance + seen.charged)
    t.strictSame(
      gateway
        .lines()
        .filter(({ level, status }) => level === 'error' || level === 'fatal' || Number(status) >= 500),
      [],
    )
  },
)
