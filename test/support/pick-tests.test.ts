import t from 'tap'
import { pickTests } from './pick-tests.ts'

const TESTS = new Map([
  ['test/house.test.ts', ''],
  ['test/live.test.ts', "import { createLive } from '../src/live.ts'\n"],
  ['test/routing/plan.test.ts', "import { planSteps } from '../../src/routing/plan.ts'\n"],
  ['test/limits/models.test.ts', "import { planSteps } from '../../src/routing/plan.ts'\n"],
  ['test/metering/sse.test.ts', ''],
  ['test/journeys/plain.test.ts', "import { planSteps } from '../../src/routing/plan.ts'\n"],
  ['test/journeys/start.test.ts', ''],
  ['test/journeys/tls.test.ts', ''],
  ['test/stores/file.test.ts', ''],
  ['test/stores/redis-link.test.ts', ''],
  ['test/stores/choice.test.ts', ''],
  ['test/scripts/token-gen.test.ts', ''],
  ['test/torture/kills.test.ts', ''],
])

function names(...changed: string[]) {
  return pickTests(changed, TESTS).tests.map((path) => path.replace('test/', '').replace('.test.ts', ''))
}

t.test(
  'a change in a room runs its tests, those that import the file, and the two that are always run',
  async (t) => {
    t.strictSame(names('src/routing/plan.ts'), ['house', 'journeys/plain', 'limits/models', 'routing/plan'])
    t.strictSame(names('src/routing/gone.ts'), ['house', 'journeys/plain', 'routing/plan'])
    t.strictSame(names('src/stores/redis/link.ts'), [
      ...['house', 'journeys/plain', 'stores/choice', 'stores/redis-link'],
    ])
    t.strictSame(names('scripts/token-gen/mint.ts'), ['house', 'journeys/plain', 'scripts/token-gen'])
  },
)

t.test('a file beside the rooms runs its own test; a map is tried with a gateway', async (t) => {
  t.strictSame(names('src/live.ts'), ['house', 'journeys/plain', 'live'])
  t.strictSame(names('src/app.ts'), ['house', 'journeys/plain', 'journeys/start'])
})

t.test('a changed test runs itself, one that takes minutes is named instead', async (t) => {
  t.strictSame(names('test/journeys/tls.test.ts'), ['journeys/tls'])
  const { tests, notes } = pickTests(['test/torture/kills.test.ts'], TESTS)
  t.strictSame(tests, [])
  t.match(notes, [/npm run test:long/])
})

t.test('what many tests stand on runs all unit rooms and says so', async (t) => {
  const { tests, notes } = pickTests(['test/support/client.ts'], TESTS)
  t.strictSame(tests, [
    ...['test/house.test.ts', 'test/limits/models.test.ts', 'test/live.test.ts'],
    ...['test/metering/sse.test.ts', 'test/routing/plan.test.ts'],
  ])
  t.match(notes, [/all unit rooms/])
  t.strictSame(names('README.md', 'docs/architecture.md'), [])
})
