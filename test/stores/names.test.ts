import t from 'tap'
import { misfitOf, nameKeyOf, plainName } from '../../src/stores/contracts/names.ts'

t.test('one name is kept in one way, however it was written', (t) => {
  for (const [typed, kept] of [
    ['ann', 'ann'],
    ['  ann \u00a0', 'ann'],
    ['ann  b', 'ann b'],
    ['\u5c71\u7530\u3000\u592a\u90ce', '\u5c71\u7530 \u592a\u90ce'],
    ['Jose\u0301', 'Jos\u00e9'],
    ['\u2764\ufe0f', '\u2764'],
    ['e\ufe0f\u0301', '\u00e9'],
    ['\u1100\u1161', '\uac00'],
    ['Ann', 'Ann'],
    ['\u3000', ''],
  ] as const)
    t.equal(plainName(typed), kept, JSON.stringify(typed))
  t.equal(nameKeyOf({ user: 'Jose\u0301', name: ' a' }), nameKeyOf({ user: 'Jos\u00e9', name: 'a ' }))
  t.not(nameKeyOf({ user: 'a', name: 'b c' }), nameKeyOf({ user: 'a b', name: 'c' }))
  t.end()
})

t.test('letters of every script, numbers, signs and simple emoji are fit', (t) => {
  for (const name of [
    'O\u2019Neil-7 (CI) <ops@example.com>',
    '\u0645\u062d\u0645\u062f',
    '\u05d9\u05d5\u05e1\u05e3',
    '\u0939\u093f\u0928\u094d\u0926\u0940',
    '\u{1f600}\u{1f44d}\u{1f3fd}',
    '\u{1f1eb}\u{1f1f7}',
    '\u{20000}',
  ])
    t.equal(misfitOf(name), undefined, name)
  t.end()
})

t.test("what turns a text, is not seen or is nobody's character is named by its code point", (t) => {
  const each = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)
  for (const [words, points] of [
    [/turns the direction/, [0x61c, 0x200e, 0x200f, ...each(0x202a, 0x202e), ...each(0x2066, 0x2069)]],
    [
      /cannot be seen/,
      [...each(0x200b, 0x200d), 0x2060, 0xfeff, 0xad, 0x34f, 0x3164, 0xffa0, 0x2800, 0xe0041],
    ],
    [/control character/, [0, 9, 0x0a, 0x1b, 0x7f, 0x85, 0x9b, 0x2028, 0x2029]],
    [/not the same character to everybody/, [0xe000, 0xf8ff, 0x100000, 0x378, 0xfdd0, 0xffff]],
  ] as const)
    for (const point of points) {
      const misfit = misfitOf(`a${String.fromCodePoint(point)}b`)
      t.match(misfit, words, point.toString(16))
      t.match(misfit, `U+${point.toString(16).toUpperCase().padStart(4, '0')}`)
    }
  for (const half of ['a\ud800', '\udc00a', '\ud83d \ude00']) t.match(misfitOf(half), /half/)
  t.match(misfitOf('\u{1f468}\u200d\u{1f469}'), /U\+200D/, 'families are joined by what cannot be seen')
  t.end()
})
