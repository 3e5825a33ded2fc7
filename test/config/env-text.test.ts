import fc from 'fast-check'
import t from 'tap'
import { readEnvText } from '../../src/config/env/env-text.js'
import { knownNames } from '../../src/config/env/words/words.js'
import { ENV_CASES } from '../support/env-cases.ts'

const known = knownNames()
const isOurs = (name: string) => known.has(name)
const piece = fc.constantFrom('PORT', '=', '"', "'", '#', ' ', '\n', '\r', '$', '{', ':', 'export ', '\\')
const read = (file: string | Buffer) => readEnvText(Buffer.from(file), isOurs)

for (const { what, file, means, refused } of ENV_CASES)
  t.test(
    `.env: ${what} ${refused ? 'is refused, with its line and a way out' : 'means what it means to all'}`,
    async (t) => {
      const { values, mistakes } = read(file)
      if (means) t.same({ values, mistakes }, { values: means, mistakes: [] })
      if (refused === undefined) return
      t.equal(mistakes.length, 1, mistakes.join(' | '))
      t.match(mistakes[0], refused)
      t.notMatch(mistakes[0], /abc|def|sk-123|aaaa/, 'no value is repeated')
    },
  )

t.test('all mistakes are told at once, and what follows an open quote is not told of again', async (t) => {
  const file = 'export A=1\nPORT: 1\nADMIN_FIRST="abc\n  and more words\nmore"\nHOST=a\nLOG_LEVEL=a$b\n'
  const { values, mistakes } = read(file)
  t.match(mistakes, [/^line 1 /, /^line 2 /, /^line 3, ADMIN_FIRST/, /^line 7, LOG_LEVEL/])
  t.equal(mistakes.length, 4)
  t.equal(values.HOST, 'a')
})

t.test('a secret that looks like a name is not told, wherever a paste has put it', async (t) => {
  for (const file of [
    'OPENAI_API_KEY=\ngsk_abc123def\nPORT=1',
    'gsk_abc123def',
    '"gsk_abc123def" =',
    'gsk_abc123def: x',
    'gsk_abc123def="',
    'ADMIN_FIRST="abc\ngsk_abc123def=\nabcdef="\nPORT=1',
    'THEIR_KEY="MIIabc\nabcdef==\nabcdef="\nPORT=1',
    "THEIR_KEY='MIIabc\nLOG_LEVEL=abc$def\nabcdef\n' # end\nPORT=1",
  ]) {
    const { values, mistakes } = read(file)
    t.equal(mistakes.length, 1, file)
    t.notMatch(mistakes[0], /abc|def|MII/)
    t.equal(values.PORT, file.endsWith('PORT=1') ? '1' : undefined, file)
  }
})

t.test('a value of another program may be spelt as that program likes it', async (t) => {
  const file =
    'THEIR_JSON=\'{"a": "b # c"}\'\nTHEIR_PATH=$HOME/x\nTHEIR_TEXT="a\\nb"\nTHEIR_PATH=again\nPORT=1\n'
  const { values, mistakes } = read(file)
  t.same(mistakes, [])
  t.equal(values.PORT, '1')
  t.equal(values.THEIR_JSON, '{"a": "b # c"}')
})

t.test('whatever bytes a file holds, reading it ends', async () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ unit: 'binary' }))), (all) => {
      read(all.join(''))
    }),
    { numRuns: 300 },
  )
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void readEnvText(bytes, isOurs)))
})
