export type JsonRecord = Record<string, unknown>

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Undefined for what is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The same of a document whose end has not come: what is open is closed, in the middle of a text too. */
export function parseBegun(text: string): unknown {
  const open: string[] = []
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at]
    if (letter === '"') {
      const end = stringEnd(text, at)
      if (end === -1) return parseJson(`${withoutBegunEscape(text)}"${open.reverse().join('')}`)
      at = end
    } else if (letter === '{') open.push('}')
    else if (letter === '[') open.push(']')
    else if (letter === '}' || letter === ']') open.pop()
  }
  return parseJson(text + open.reverse().join(''))
}

function withoutBegunEscape(text: string): string {
  const begun = /\\u?[\da-fA-F]{0,3}$/.exec(text)
  return begun && !isEscaped(text, begun.index) ? text.slice(0, begun.index) : text
}

const MAX_TRIES = 8

/**
 * The last object under `key` in the end of a JSON document, if it lies exactly `depth` braces deep: a key of the same
 * name further inside (a tool's schema, an echoed request) was written by the client and must not be believed.
 */
export function lastObject(text: string, key: string, depth: number): JsonRecord | undefined {
  const quoted = `"${key}"`
  let at = text.lastIndexOf(quoted)
  for (let tries = 0; at !== -1 && tries < MAX_TRIES; tries++) {
    const start = text[at - 1] === '\\' ? -1 : valueStart(text, at + quoted.length)
    const end = start === -1 ? undefined : objectEnd(text, start)
    if (end?.closes === depth) {
      const value = parseJson(text.slice(start, end.at))
      if (isRecord(value)) return value
    }
    at = at === 0 ? -1 : text.lastIndexOf(quoted, at - 1)
  }
  return undefined
}

/** Where the object after a key's colon begins; -1 when the key has another value or is none. */
export function valueStart(text: string, afterKey: number): number {
  const between = /^\s*:\s*\{/.exec(text.slice(afterKey, afterKey + 32))
  return between ? afterKey + between[0].length - 1 : -1
}

/** Where the object that opens at `start` ends, and how many brackets the rest of the text closes beyond those it opens. */
function objectEnd(text: string, start: number): { at: number; closes: number } | undefined {
  let open = 0
  let at = -1
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x22) {
      i = stringEnd(text, i)
      if (i === -1) return undefined
    } else if (code === 0x7b || code === 0x5b) open++
    else if (code === 0x7d || code === 0x5d) {
      open--
      if (open === 0 && at === -1) at = i + 1
    }
  }
  return at === -1 ? undefined : { at, closes: -open }
}

function stringEnd(text: string, quote: number): number {
  let end = text.indexOf('"', quote + 1)
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end
}

function isEscaped(text: string, at: number): boolean {
  let first = at
  while (text[first - 1] === '\\') first--
  return (at - first) % 2 === 1
}
