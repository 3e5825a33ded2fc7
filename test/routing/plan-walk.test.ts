import t from 'tap'
import type { Model, Provider } from '../../src/config/catalog/catalog.ts'
import { openaiChat } from '../../src/dialects/openai-chat.ts'
import { createProviderHealth, createRetryBudget } from '../../src/routing/health.ts'
import { PlanWalk, type Step } from '../../src/routing/plan.ts'

const step = (name: string): Step => ({
  provider: { name } as Provider,
  upstreamModel: 'm',
  model: { name: 'm' } as Model,
  dialect: openaiChat,
  key: `${name}/m`,
})
const MISSING = { kind: 'status', status: 404, reason: '404', retryAfterMs: undefined } as const

t.test('a rested step is not probed without a retry to spare while another is well', (t) => {
  let now = 0
  const tools = {
    health: createProviderHealth(),
    missingModels: createProviderHealth(),
    budget: createRetryBudget(),
    now: () => now,
    providerFailed: () => undefined,
  }
  const steps = [step('one'), step('two')]
  const first = () => new PlanWalk(steps, '/chat/completions', tools).next()?.provider.name
  t.equal(first(), 'one')
  for (let i = 0; i < 5; i++) {
    const walk = new PlanWalk(steps, '/chat/completions', tools)
    walk.note(step('one'), MISSING)
  }
  t.equal(first(), 'two', 'it rests')
  now = 1_000
  t.equal(first(), 'one', 'its probe is due')
  while (tools.budget.spend());
  t.equal(first(), 'two', 'a probe that fails could not be made good')
  t.equal(new PlanWalk(steps, '/embeddings', tools).next()?.provider.name, 'one', 'another endpoint')
  t.end()
})

t.test('a fault of this machine rests nobody, however often', (t) => {
  const seen: string[] = []
  const tools = {
    health: createProviderHealth(),
    missingModels: createProviderHealth(),
    budget: createRetryBudget(),
    now: () => 0,
    providerFailed: (provider: string) => void seen.push(provider),
  }
  const walk = () => new PlanWalk([step('one'), step('two')], '/chat/completions', tools)
  const fault = { kind: 'own', status: 0, reason: 'EMFILE', retryAfterMs: undefined } as const
  for (let i = 0; i < 20; i++) walk().note(step('one'), fault)
  t.equal(walk().next()?.provider.name, 'one')
  t.same(seen, [])
  t.end()
})
