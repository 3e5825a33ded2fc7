import t from 'tap'
import { makeSecret, prefixOf } from '../../src/auth/secret.ts'

t.test('of a secret made here seven characters are shown, of a chosen one two', (t) => {
  const made = makeSecret()
  t.equal(prefixOf(made), made.slice(0, 7))
  for (const chosen of ['hunter2-hunter2-', 'gw-correct-horse', `${made}x`, `gw-${'é'.repeat(43)}`])
    t.equal(prefixOf(chosen), chosen.slice(0, 2), chosen)
  t.end()
})
