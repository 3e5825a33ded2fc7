import { isRecord, type JsonRecord, parseJson } from '../json.ts'

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

/** Where the line of this character begins; LF, CRLF and CR all end a line. */
export function lineStart(text: string, at: number): number {
  const lf = text.lastIndexOf('\n', at)
  const cr = text.slice(lf + 1, at + 1).lastIndexOf('\r')
  return lf + 1 + cr + 1
}

/** The whole line around this character, without its end. */
export function lineAround(text: string, at: number): { start: number; line: string } {
  const start = lineStart(text, at)
  const lf = text.indexOf('\n', at)
  const upToLf = text.slice(start, lf === -1 ? text.length : lf)
  const cr = upToLf.indexOf('\r', at - start)
  return { start, line: cr === -1 ? upToLf : upToLf.slice(0, cr) }
}
