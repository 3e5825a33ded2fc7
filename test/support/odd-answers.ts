/** What of an answer is unusual; each stands for a rule of RFC 9112 or 9110 that readers may see differently. */
export type Oddity =
  | 'length and chunked'
  | 'two lengths'
  | 'length no number'
  | 'other coding'
  | 'bare LF'
  | 'bare CR'
  | 'folded line'
  | 'control in value'
  | 'space before colon'
  | 'no colon'
  | 'odd version'
  | 'odd status'
  | 'interim'
  | 'switching'
  | 'extension'
  | 'odd extension'
  | 'trailer'
  | 'odd trailer'
  | 'odd size'
  | 'no CRLF after chunk'
  | 'surplus'
  | 'cut'
  | 'empty status'
  | 'bodiless'
  | 'large head'

export interface OddAnswer {
  bytes: Buffer
  odd: ReadonlySet<Oddity>
  /** Where the bytes break on their way: offsets, ascending. */
  breaks: readonly number[]
}

/** A random number generator that gives the same row for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

type Random = () => number

/** One answer while it is made up. */
class Draft {
  readonly odd = new Set<Oddity>()
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  pick<T>(...from: readonly [T, ...T[]]): T {
    return from[Math.floor(this.#random() * from.length)] ?? from[0]
  }

  upTo(most: number): number {
    return Math.floor(this.#random() * (most + 1))
  }

  /** True in `share` of all cases; the oddity is noted then. */
  turns(oddity: Oddity, share = 0.03): boolean {
    if (this.#random() >= share) return false
    this.odd.add(oddity)
    return true
  }
}

function text(length: number): string {
  return 'The quick brown fox. '.repeat(40).slice(0, length)
}

function statusLine(draft: Draft): string {
  const version = draft.turns('odd version')
    ? draft.pick('HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.12', 'HTTP/11', 'HTTP /1.1', 'ICY', 'HTTP/1,1')
    : draft.pick('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0')
  const status = draft.turns('odd status')
    ? draft.pick('20', '2000', '099', '600', '-20', '2x0', '', '٢٠٠')
    : draft.pick('200', '200', '200', '204', '304', '400', '429', '500', '299', '599')
  if (draft.turns('empty status')) return draft.pick(`${version} ${status}`, `${version} ${status} `)
  return `${version} ${status} ${draft.pick('OK', 'Too Many', 'Ça va', '\t')}`
}

function field(draft: Draft): string {
  if (draft.turns('control in value')) return `x-a: ${draft.pick('a\0b', 'a\x01b', 'a\x7fb', 'a\x0bb')}`
  if (draft.turns('space before colon')) return draft.pick('x-a : b', 'content-length : 3', ' x-a: b')
  if (draft.turns('no colon')) return draft.pick('x-a', ': b', 'x a: b', 'x\x80: b', '()x: b')
  if (draft.turns('folded line')) return draft.pick('x-a: b\r\n c', 'x-a:\r\n\tb')
  if (draft.turns('bare CR')) return draft.pick('x-a: b\rc: d', 'x-a: b\r')
  return draft.pick(
    'x-a: b',
    'Content-Type:application/json',
    'content-type:\t text/event-stream \t',
    'Retry-After: 3',
    'x-empty:',
    'x-latin: \xe9',
    'Connection: close',
    'connection: keep-alive',
    'Keep-Alive: timeout=5',
    'server: x',
  )
}

function chunk(draft: Draft, length: number): string {
  let size = draft.pick(length.toString(16), length.toString(16).toUpperCase(), `00${length.toString(16)}`)
  if (draft.turns('odd size'))
    size = draft.pick('', ' 3', '3 ', '0x3', '-3', '+3', '3g', 'ffffffffffffffffff', '3\t', '١')
  if (draft.turns('extension')) size += draft.pick(';a', ';a=b', ';a="b c"', ';a;b=1')
  if (draft.turns('odd extension')) size += draft.pick(';', '; a', ';a=', ';a="\x01"', ' ;a', ';a=\x00')
  const end = draft.turns('bare LF', 0.01) ? draft.pick('\n', '\r', '\rx') : '\r\n'
  const after = draft.turns('no CRLF after chunk', 0.01) ? draft.pick('', '\n', '\r', 'xx') : '\r\n'
  return `${size}${end}${length === 0 ? '' : `${text(length)}${after}`}`
}

function trailers(draft: Draft): string {
  let lines = ''
  if (draft.turns('trailer', 0.1)) lines += draft.pick('x-t: 1\r\n', 'x-t: 1\r\nx-u:\r\n')
  if (draft.turns('odd trailer'))
    lines += draft.pick(
      'x-t\r\n',
      'x-t: a\0\r\n',
      ' x: y\r\n',
      'x: y\n',
      'x : y\r\n',
      'content-length: 1\r\n',
    )
  return `${lines}\r\n`
}

function body(draft: Draft): { fields: string[]; content: string } {
  const length = draft.pick(0, 1, 5, 17, draft.upTo(600))
  if (draft.pick('plain', 'chunked', 'chunked', 'until the end') === 'until the end')
    return { fields: [], content: text(length) }
  if (draft.pick(true, false)) {
    const digits = draft.turns('length no number')
      ? draft.pick('5x', '-5', '+5', '0x5', '5.0', '', '5 5', '99999999999999999999', '٥')
      : String(length)
    const fields = [`content-length: ${digits}`]
    if (draft.turns('two lengths'))
      fields.push(
        draft.pick(`content-length: ${digits}`, 'content-length: 7', `Content-Length: ${length + 1}`),
      )
    if (draft.turns('length and chunked', 0.02)) {
      fields.push('transfer-encoding: chunked')
      return { fields, content: `${chunk(draft, 3)}${chunk(draft, 0)}\r\n` }
    }
    return { fields, content: text(length) }
  }
  const coding = draft.turns('other coding')
    ? draft.pick(
        'gzip, chunked',
        'chunked, gzip',
        'identity',
        'xchunked',
        'chunked, chunked',
        'chunked;a=b',
        '',
      )
    : draft.pick('chunked', 'Chunked', ' chunked ')
  let content = ''
  for (let left = draft.upTo(5); left > 0; left -= 1) content += chunk(draft, draft.pick(1, 3, 16, 300))
  return {
    fields: [`transfer-encoding: ${coding}`],
    content: `${content}${chunk(draft, 0)}${trailers(draft)}`,
  }
}

/** One answer of a provider: mostly valid, often odd in one way, sometimes in several; broken anywhere. */
export function makeAnswer(random: Random): OddAnswer {
  const draft = new Draft(random)
  let head = ''
  for (let interims = draft.turns('interim', 0.05) ? 1 + draft.upTo(2) : 0; interims > 0; interims -= 1)
    head += draft.pick('HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n')
  if (draft.turns('switching', 0.01)) head += 'HTTP/1.1 101 Switching Protocols\r\nx-a: b\r\n\r\n'
  const { fields, content } = body(draft)
  const lines = [statusLine(draft)]
  for (let count = draft.upTo(4); count > 0; count -= 1) lines.push(field(draft))
  lines.splice(1 + draft.upTo(lines.length - 1), 0, ...fields)
  if (draft.turns('large head', 0.005)) lines.push(`x-large: ${'x'.repeat(20_000)}`)
  if (/ (?:204|304)(?: |$)/.test(lines[0] ?? '')) {
    draft.odd.add('bodiless')
    // A body that these may not have is what stands behind their end (RFC 9110 sections 15.3.5 and 15.4.5).
    if (content !== '') draft.odd.add('surplus')
  }
  if (draft.turns('bare LF', 0.02)) lines.push(...lines.splice(-2).join('\n').split('\r'))
  const end = draft.turns('bare LF', 0.01) ? '\n' : '\r\n'
  head += `${lines.join(end)}${end}${end}`
  let all = head + content
  if (draft.turns('surplus', 0.03))
    all += draft.pick('x', '\r\n', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
  if (draft.turns('cut', 0.05)) all = all.slice(0, draft.upTo(all.length - 1))
  const bytes = Buffer.from(all, 'latin1')
  const breaks = Array.from({ length: draft.pick(0, 0, 1, 2, 5) }, () => draft.upTo(bytes.length))
  return { bytes, odd: draft.odd, breaks: breaks.sort((one, other) => one - other) }
}
