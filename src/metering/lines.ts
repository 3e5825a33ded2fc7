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
