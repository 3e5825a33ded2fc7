// Names that people give and others read: in lists, in logs, in somebody's terminal.

const BLANKS = /\p{Zs}+/gu
/** They choose between two shapes of the character before them, and cannot be seen. */
const VARIATIONS = /\p{Variation_Selector}/gu
const HALF = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/

/** What no name may hold, by what is wrong with it; the first that fits is told. */
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/[\p{Cc}\p{Zl}\p{Zp}]/u, 'a control character'],
  [/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u, 'which turns the direction of a text'],
  [/[\p{Default_Ignorable_Code_Point}\p{Cf}\u2800]/u, 'which cannot be seen'],
  [/[\p{Co}\p{Cn}]/u, 'which is not the same character to everybody'],
]

/**
 * A name as it is kept and compared: composed (NFC), with plain blanks, one at a time and none at the ends, without
 * selectors of variations. Two that look alike because they are written in two ways are one.
 */
export function plainName(text: string): string {
  return text.replace(VARIATIONS, '').normalize('NFC').replace(BLANKS, ' ').replace(/^ | $/g, '')
}

/** What a plain name may not hold, in words that follow "must not hold"; undefined: it is fit. */
export function misfitOf(name: string): string | undefined {
  if (HALF.test(name)) return 'half of a character'
  for (const [pattern, words] of REFUSED) {
    const [found] = pattern.exec(name) ?? []
    if (found !== undefined) return `${writeCodePoint(found)}, ${words}`
  }
  return undefined
}

function writeCodePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
}

/** By this two names of a token, each beside its user's, are one; those of earlier stores as well. */
export function nameKeyOf({ user, name }: { user: string; name: string }): string {
  return JSON.stringify([plainName(user), plainName(name)])
}
