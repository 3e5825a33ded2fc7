const MAX_LENGTH = 256
const PLAIN = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/
/** Controls, halves of letters, line ends, and what nobody sees. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u

/** What `isModelName` wants, for refusals. */
export const MODEL_NAME = `a string of at most ${MAX_LENGTH} printable characters, without blanks at its ends`

/**
 * Whether a client may name a model so. Names are compared exactly, letter by letter; what another reader could trim,
 * drop or compose before it compares is no name, for it would find another model than the one that was looked up here.
 */
export const isModelName = (name: string): boolean =>
  name.length <= MAX_LENGTH &&
  (PLAIN.test(name) || (!UNPRINTABLE.test(name) && name === name.trim() && name === name.normalize('NFC')))
