const QUOTE = 34
const SPACE = 32
/** Runs of twice this length are always found; no search looks at shorter distances. */
const STRIDE = 2048
const PREFIX_BYTES = 160
const SAMPLES = 64

export interface Run {
  start: number
  end: number
}

/**
 * The long base64 strings of a JSON body that are files (data URLs and `"data"` fields), not text. The body is probed
 * every 2 KiB instead of read: a stretch that long without a space or a quote is rare.
 */
export function findBase64Runs(body: Buffer): Run[] {
  const runs: Run[] = []
  const nextQuote = createFinder(body, QUOTE)
  const nextSpace = createFinder(body, SPACE)
  let at = STRIDE
  while (at < body.length) {
    const end = Math.min(nextQuote(at), body.length)
    if (nextSpace(at) < end || end - at < STRIDE) {
      at += STRIDE
      continue
    }
    const start = fileStart(body, at)
    if (start !== -1 && start < end && isBase64(body, start, end)) runs.push({ start, end })
    at = end + 1
  }
  return runs
}

/** Remembers the last find: without it a byte that is far away would be searched from every probe again. */
function createFinder(body: Buffer, byte: number) {
  let found = -1
  return (from: number) => {
    if (found >= from) return found
    const next = body.indexOf(byte, from)
    found = next === -1 ? Number.POSITIVE_INFINITY : next
    return found
  }
}

/** Where the base64 of the string around `at` begins; -1 when that string is no file. */
function fileStart(body: Buffer, at: number): number {
  const quote = body.lastIndexOf(QUOTE, at)
  if (quote === -1) return -1
  const opening = body.toString('latin1', quote + 1, quote + 1 + PREFIX_BYTES)
  const dataUrl = /^data:[^"]*?;base64,/.exec(opening)
  if (dataUrl) return quote + 1 + dataUrl[0].length
  // An unescaped quote cannot stand inside a string, so this is the string's own key and not a text that shows one.
  const key = body.toString('latin1', Math.max(0, quote - 16), quote)
  return /"data"\s*:\s*$/.test(key) ? quote + 1 : -1
}

/** Spot checks: escapes are allowed, for some clients write `\/`. */
function isBase64(body: Buffer, start: number, end: number): boolean {
  const step = Math.max(1, Math.floor((end - start) / SAMPLES))
  for (let at = start; at < end; at += step) {
    if (!/[\w+/=\\-]/.test(String.fromCharCode(body[at] ?? 0))) return false
  }
  return true
}
