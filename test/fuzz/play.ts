import { connect } from 'node:net'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import type { FuzzCase } from './cases.ts'

export interface Outcome {
  /** What came back, as latin1. */
  text: string
  /** The gateway has ended the connection (or the client has left). */
  isOver: boolean
}

/** So long may an answer and its end take: only a gateway that forgets a client takes longer. */
const PATIENCE_MS = 30_000

/** One client, from its first byte to the end of its connection. */
export async function play(port: number, { writes, ending, lingerMs }: FuzzCase): Promise<Outcome> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  const pieces: Buffer[] = []
  const over = Promise.withResolvers<boolean>()
  socket.on('data', (piece: Buffer) => pieces.push(piece))
  socket.on('error', () => over.resolve(true))
  socket.on('end', () => over.resolve(true))
  socket.on('close', () => over.resolve(true))
  for (const bytes of writes) {
    if (socket.destroyed || !socket.writable) break
    const written = new Promise<void>((done) => socket.write(bytes, () => done()))
    await Promise.race([written, over.promise])
    await turn()
  }
  if (lingerMs > 0) await wait(lingerMs)
  if (ending === 'half-close') socket.end()
  else if (ending === 'close') socket.destroy()
  else socket.resetAndDestroy()
  const timer = setTimeout(() => over.resolve(false), PATIENCE_MS)
  const isOver = await over.promise
  clearTimeout(timer)
  socket.destroy()
  return { text: Buffer.concat(pieces).toString('latin1'), isOver }
}

/** What is wrong with that; undefined: nothing. */
export function judge({ isWhole }: FuzzCase, { text, isOver }: Outcome): string | undefined {
  if (!isOver) return 'the connection did not end'
  const failed = /^HTTP\/1\.1 5\d\d.*$/m.exec(text)
  if (failed) return `nobody asked for ${failed[0]}`
  if (text !== '' && !text.startsWith('HTTP/1.1 ')) return 'no HTTP came back'
  if (isWhole && text === '') return 'a right request got no answer'
  return undefined
}
