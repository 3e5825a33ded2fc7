import fc from 'fast-check'
import t from 'tap'
import { takeKey } from '../../src/entrance/query-credentials.ts'

t.test('a key is taken out of a query, the rest stays as it is', async (t) => {
  const cases: [query: string, key: string | undefined, rest: string | undefined][] = [
    ['api_key=k', 'k', undefined],
    ['api_key=k&', 'k', ''],
    ['&api_key=k', 'k', ''],
    ['a=1&api_key=k&b=2', 'k', 'a=1&b=2'],
    ['a=%2f&&=&api_key=a%2Bb+c&x', 'a+b+c', 'a=%2f&&=&x'],
    ['api%5fkey=k', 'k', undefined],
    ['api_key==k=', '=k=', undefined],
    ['api_key=', undefined, undefined],
    ['api_key', undefined, undefined],
    ['a=api_key=k', undefined, 'a=api_key=k'],
    ['my_api_key=k', undefined, 'my_api_key=k'],
    ['', undefined, ''],
  ]
  for (const [query, key, rest] of cases) t.strictSame(takeKey(query), { key, rest }, query)
  for (const query of ['api_key=a&api_key=a', 'api_key=&api%5Fkey=a', 'api_key=%', 'api_key=%ff'])
    t.match(takeKey(query), { mistake: String }, query)
})

t.test('wherever the key stands, what is left is what stood around it', async () => {
  const pair = fc.string({ maxLength: 8 }).map((text) => encodeURI(text.toWellFormed()).replaceAll('&', ''))
  const secret = fc.string({ minLength: 1, unit: 'grapheme' })
  fc.assert(
    fc.property(fc.array(pair), fc.array(pair), secret, (before, after, key) => {
      const around = [...before, ...after]
      const taken = takeKey([...before, `api_key=${encodeURIComponent(key)}`, ...after].join('&'))
      const rest = around.length === 0 ? undefined : around.join('&')
      return !('mistake' in taken) && taken.key === key && taken.rest === rest
    }),
  )
})
