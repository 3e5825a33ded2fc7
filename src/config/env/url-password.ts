/** What ends a password in a URL before its time. */
const RESERVED = ['/', '?', '#', '@', '[', ']', '%']

/**
 * What of a password stands raw in a URL that cannot be read, in words; empty where that is not the reason. Not told are
 * the characters that every URL takes.
 * @param rest the URL after its `://`
 */
export function describeRawPassword(rest: string): string {
  const end = rest.lastIndexOf('@')
  const start = rest.indexOf(':') + 1
  if (start === 0 || start > end) return ''
  // What is percent-encoded already is no finding.
  const password = rest.slice(start, end).replace(/%[0-9a-f]{2}/gi, '')
  const found = RESERVED.filter((character) => password.includes(character))
  if (found.length === 0) return ''
  const ways = found.map((character) => `"${character}" as ${percentEncode(character)}`)
  return `in its password write ${ways.join(', ')}`
}

function percentEncode(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

/** Whether a URL is read otherwise than it was meant, because its password holds what ends a host, a path or a query. */
export function isCutShort(rest: string): boolean {
  const authority = /^[^/?#]*/.exec(rest)?.[0] ?? ''
  const after = rest.slice(authority.length)
  if (after.includes('#')) return true
  // An "@" may stand in a value of the query, not before it.
  const [path = '', query = ''] = after.split(/\?(.*)/s)
  return !authority.includes('@') && (path.includes('@') || /^[^=]*@/.test(query))
}
