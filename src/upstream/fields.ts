/** Framing, routing, credentials and what a reader must know before the body: no trailer may say it (RFC 9110 section 6.5.1). */
const NEVER_TRAILERS = new Set([
  ...[
    'transfer-encoding',
    'content-length',
    'connection',
    'keep-alive',
    'te',
    'trailer',
    'upgrade',
    'expect',
  ],
  ...['proxy-connection', 'host', 'max-forwards', 'cache-control', 'pragma', 'range', 'authorization'],
  ...['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range', 'cookie'],
  ...[
    'proxy-authorization',
    'proxy-authenticate',
    'www-authenticate',
    'set-cookie',
    'age',
    'date',
    'expires',
  ],
  ...['location', 'retry-after', 'vary', 'warning', 'content-encoding', 'content-type', 'content-range'],
])
const NAME = /^[\w!#$%&'*+.^`|~-]+$/
const UNSAFE = /[^\t\x20-\x7e\x80-\xff]/

export function isFieldName(name: string): boolean {
  return NAME.test(name)
}

/** Whether a value has a character that ends its line, or that no field may have. */
export function isUnsafe(value: string): boolean {
  return UNSAFE.test(value)
}

/**
 * The fields of a head that is known to be well-formed, names and values in turn, as they came. `at` is the line end
 * before the first of them; -1: there is none.
 */
export function readFieldLines(text: string, at: number): string[] {
  const fields: string[] = []
  for (let before = at; before !== -1; ) {
    const start = before + 2
    before = text.indexOf('\r\n', start)
    const colon = text.indexOf(':', start)
    const end = before === -1 ? text.length : before
    fields.push(text.slice(start, colon), sliceTrimmed(text, colon + 1, end))
  }
  return fields
}

/** Optional white space is blanks and tabs, nothing else (RFC 9110 section 5.6.3). */
export function sliceTrimmed(text: string, start: number, end: number): string {
  let [from, to] = [start, end]
  while (from < to && isBlank(text.charCodeAt(from))) from += 1
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1
  return text.slice(from, to)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** Of these fields, names and values in turn, those that may stand behind a body. */
export function keepTrailers(fields: readonly string[]): string[] {
  const kept: string[] = []
  for (let index = 0; index < fields.length; index += 2) {
    const [name = '', value = ''] = [fields[index], fields[index + 1]]
    if (isFieldName(name) && !isUnsafe(value) && !NEVER_TRAILERS.has(name.toLowerCase()))
      kept.push(name, value)
  }
  return kept
}
