import fc from 'fast-check'
import t from 'tap'
import { createUsageFilter } from '../../src/exchange/usage-filter.ts'

const chunk = '{"choices":[{"delta":{"content":"wörd"},"tool_calls":[]}],"usage":null}'
const usage = '{"id":"x","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19}}'
const event = fc.constantFrom(
  `data: ${chunk}\n\n`,
  'data: {"choices":[]}\n\n',
  ': ping\n\n',
  '\n',
  'data: []\n\n',
)
const hidden = `data: ${usage}\n\n`
const ends = fc.constantFrom('\n', '\r\n', '\r')

t.test('the usage chunk is taken out and every other byte passes, wherever the chunks break', (t) => {
  const before = fc.array(event, { maxLength: 4 })
  const sizes = fc.array(fc.integer({ min: 1, max: 120 }), { minLength: 1, maxLength: 60 })
  const check = (first: string[], last: string[], end: string, cuts: number[]): void => {
    const to = (text: string): string => text.replaceAll('\n', end)
    const bytes = Buffer.from(to(first.join('') + hidden + last.join('')))
    const filter = createUsageFilter()
    const passed: Buffer[] = []
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const size = cuts[i % cuts.length] ?? 1
      passed.push(Buffer.from(filter.pass(bytes.subarray(at, at + size))))
      at += size
    }
    const got = Buffer.concat([...passed, filter.rest()]).toString()
    t.equal(got, to(first.join('') + last.join('')), JSON.stringify([end, cuts]))
  }
  fc.assert(fc.property(before, before, ends, sizes, check), { numRuns: 1000 })
  t.end()
})

t.test('whole events that cannot be it are not even copied', (t) => {
  const bytes = Buffer.from('data: {"choices":[{"delta":{}}]}\n\n')
  t.equal(createUsageFilter().pass(bytes), bytes)
  t.end()
})

t.test('an event that is too long for it passes as it comes, and the chunk behind it is taken out', (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const picture = `data: {"choices":[{"delta":{"tool_calls":[],"image":"${'A'.repeat(3_000_000)}"}}]}${end}${end}`
    const bytes = Buffer.from(`${picture}${hidden.replaceAll('\n', end)}data: [DONE]${end}${end}`)
    const filter = createUsageFilter()
    const passed: Buffer[] = []
    for (let at = 0; at < bytes.length; at += 60_000) {
      passed.push(Buffer.from(filter.pass(bytes.subarray(at, at + 60_000))))
      if (at === 120_000) t.ok(Buffer.concat(passed).length > 60_000, 'it is not held')
    }
    t.equal(Buffer.concat(passed).toString(), `${picture}data: [DONE]${end}${end}`)
    t.match(filter.report(), { completion_tokens: 7 })
  }
  t.end()
})
