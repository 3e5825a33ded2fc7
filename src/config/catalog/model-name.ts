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
export function isModelName(name: string): boolean {
  return (
    name.length <= MAX_LENGTH &&
    (PLAIN.test(name) || (!UNPRINTABLE.test(name) && name === name.trim() && name === name.normalize('NFC')))
  )
}

/** Whether a name is this one, or one of this pattern (`gpt-*`). */
export function isNameOf(pattern: string, name: string): boolean {
  const star = pattern.indexOf('*')
  if (star === -1) return pattern === name
  const head = pattern.slice(0, star)
  const tail = pattern.slice(star + 1)
  return name.length >= head.length + tail.length && name.startsWith(head) && name.endsWith(tail)
}

/**
 * OpenRouter's variants and Hugging Face's choices, the same model on other hosts or with a search of the web: one of them
 * makes the last part of a name, itself or another, such a part.
 */
const VARIANT =
  /:(?:free|floor|nitro|online|exacto|extended|thinking|beta|auto|web|fastest|cheapest|preferred)(?=:|$)/
const LAST_PART = /:[^:]*$/
const PRESET = /@preset\/.*$/
/** Behind `maker/model` a word is the name of a host (`:groq`, `:fireworks-ai`), sixty-four digits are Replicate's version. */
const HOST = /(?<=\/[^:]*):(?:[a-z][a-z-]*|[0-9a-f]{64})$/
/** Ollama reads `llama3` as `llama3:latest`, Gemini `gemini-pro` as `models/gemini-pro`; many drop slashes at the ends. */
const IMPLIED = /^\/?models\/|^\/|\/$|:latest$/g

/** Whether a provider may take a name that is not among these for one that is. */
export function buildLooks(listed: readonly string[]): (name: string) => boolean {
  const looks = new Set(listed.map(lookOf))
  return (name) => looksOf(name).some((look) => looks.has(look))
}

/** Whether a provider may take a name for one of this pattern. */
export function looksLikePattern(pattern: string, name: string): boolean {
  const [head = '', tail = ''] = pattern.split('*')
  const folded = `${fold(head)}*${fold(tail)}`
  return isNameOf(folded, fold(name)) || looksOf(name).some((look) => isNameOf(folded, look))
}

/** A name as a provider may read it that does not tell case, width or blanks apart, without what goes without saying. */
function lookOf(name: string): string {
  return fold(name).replace(IMPLIED, '')
}

function fold(text: string): string {
  return text.normalize('NFKC').toUpperCase().toLowerCase().replace(/\s+/gu, '').replace(/\/+/g, '/')
}

/**
 * What a provider may take a name for: its look, and that without one variant after the other. Only for names that are
 * not listed: what the operator lists is told apart.
 */
function looksOf(name: string): string[] {
  const looks = [lookOf(name)]
  for (let look = looks[0] ?? ''; ; ) {
    const shorter = lookOf(withoutVariant(look))
    if (shorter.length >= look.length) return looks
    looks.push(shorter)
    look = shorter
  }
}

function withoutVariant(look: string): string {
  if (PRESET.test(look)) return look.replace(PRESET, '')
  return look.replace(VARIANT.test(look) ? LAST_PART : HOST, '')
}
