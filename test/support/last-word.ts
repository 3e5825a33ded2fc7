import { connect, type Socket } from 'node:net'
import type { Owner } from './waiting.ts'

/** What came back on one connection whose client never closes its side. */
export interface Heard {
  text: string
  /** Milliseconds from the first byte of the answer to the server's end; undefined: it has not ended. */
  endedAfterMs: number | undefined
}

/** Sends these bytes, reads until the server ends its side (or resets), and keeps its own side open all the while. */
export function hearUntilEnd(
  t: Owner,
  port: number,
  bytes: string | Buffer,
  { patienceMs = 20_000, halfClose = false } = {},
): Promise<Heard> & { socket: Socket } {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  const heard = new Promise<Heard>((resolve) => {
    let text = ''
    let firstAt: number | undefined
    const over = (isEnded: boolean) => () => {
      clearTimeout(timer)
      const at = performance.now()
      resolve({ text, endedAfterMs: isEnded ? at - (firstAt ?? at) : undefined })
    }
    const timer = setTimeout(over(false), patienceMs)
    socket.on('data', (chunk: Buffer) => {
      firstAt ??= performance.now()
      text += chunk.toString('latin1')
    })
    socket.on('error', over(true))
    socket.on('end', over(true))
    socket.on('close', over(true))
  })
  socket.write(bytes)
  if (halfClose) socket.end()
  return Object.assign(heard, { socket })
}
