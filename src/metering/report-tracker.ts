import { isRecord, type JsonRecord, parseJson } from '../json.ts'

/** A report has a few hundred characters. */
const MAX_REPORT_CHARS = 64 * 1024
const WORD = 'usage'
/** Reports are remembered for so many depths: only the shallowest can be the answer's own. */
const MAX_DEPTHS = 16

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

/**
 * Picks the `usage` objects out of JSON that passes in pieces and is not kept. It begins somewhere inside the document, at
 * such a key; how deep that was is known at the document's end, from what was closed until then.
 */
export class ReportTracker {
  /** How many braces and brackets are open beyond those at the beginning; below 0 where more were closed. */
  #depth = 0
  readonly #found = new Map<number, JsonRecord>()
  #isInString = false
  /** The string so far, while it may be the word; undefined when it is another. */
  #word: string | undefined
  /** The backslashes right before the next character, where a piece ends in some. */
  #backslashes = 0
  /** What a report needs next: its colon or its brace. */
  #wants: 'colon' | 'brace' | undefined
  /** The report that is passing, and the depth at which it stands. */
  #report: string | undefined
  #reportDepth = 0

  feed(text: string): void {
    let from = 0
    for (let at = 0; at < text.length; at += 1) {
      if (this.#isInString) {
        at = this.#passString(text, at)
        continue
      }
      const code = text.charCodeAt(at)
      if (code === QUOTE) this.#openString()
      else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
        if (this.#wants === 'brace' && code === OPEN_BRACE && this.#report === undefined) {
          this.#report = ''
          this.#reportDepth = this.#depth
          from = at
        }
        this.#depth += 1
        this.#wants = undefined
      } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
        this.#depth -= 1
        this.#wants = undefined
        if (this.#report !== undefined && this.#depth === this.#reportDepth)
          this.#keep(this.#report + text.slice(from, at + 1))
      } else if (code === COLON) this.#wants = this.#wants === 'colon' ? 'brace' : undefined
      else if (code > 0x20) this.#wants = undefined
    }
    if (this.#report === undefined) return
    this.#report += text.slice(from)
    if (this.#report.length > MAX_REPORT_CHARS) this.#report = undefined
  }

  /** The report that lies so many braces deep, or as few more as may be, now that the document is over. */
  report(depth: number, deepest = depth): JsonRecord | undefined {
    for (let each = depth; each <= deepest; each += 1) {
      const report = this.#found.get(this.#depth + each)
      if (report) return report
    }
    return undefined
  }

  #openString(): void {
    this.#isInString = true
    this.#word = ''
    this.#backslashes = 0
    this.#wants = undefined
  }

  /** Where the string ends, or the text does. */
  #passString(text: string, from: number): number {
    let end = text.indexOf('"', from)
    while (end !== -1 && this.#isEscaped(text, from, end)) end = text.indexOf('"', end + 1)
    const to = end === -1 ? text.length : end
    if (this.#word !== undefined)
      this.#word = this.#word.length + to - from > WORD.length ? undefined : this.#word + text.slice(from, to)
    if (end === -1) {
      const before = backslashesBefore(text, from, to)
      this.#backslashes = before === to - from ? this.#backslashes + before : before
      return to
    }
    this.#isInString = false
    this.#wants = this.#word === WORD ? 'colon' : undefined
    return end
  }

  #isEscaped(text: string, from: number, quote: number): boolean {
    const before = backslashesBefore(text, from, quote)
    return (before === quote - from ? before + this.#backslashes : before) % 2 === 1
  }

  #keep(text: string): void {
    this.#report = undefined
    const report = parseJson(text)
    if (!isRecord(report)) return
    this.#found.set(this.#reportDepth, report)
    if (this.#found.size > MAX_DEPTHS) this.#found.delete(Math.max(...this.#found.keys()))
  }
}

function backslashesBefore(text: string, from: number, at: number): number {
  let first = at
  while (first > from && text.charCodeAt(first - 1) === BACKSLASH) first -= 1
  return at - first
}
