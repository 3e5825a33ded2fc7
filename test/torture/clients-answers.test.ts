import t from 'tap'
import { floodWithAnswers } from './clients-answers.ts'

t.setTimeout(300_000)

for (const store of ['files', 'redis'] as const)
  t.test(
    `${store}: a token that fills its keys with large answers takes nobody else's room`,
    async (test) => {
      const { faults, figures } = await floodWithAnswers(test, { store, requests: 300 })
      test.comment(figures)
      test.same(faults, [])
    },
  )
