import { isFieldName, isUnsafe } from './heads.ts'

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
