import type { Socket } from 'node:net'

/**
 * Who is sent a large body may answer and hang up before it has come. The next write then fails, and with the socket Node
 * throws away the answer that has arrived and was not read yet: a service's 413 would nearly always be lost. So a write that
 * fails ends the socket only when a turn has brought nothing more; behind a reset nothing new can come.
 */
export function hearLastWords(socket: Socket): void {
  const destroy = socket.destroy
  let isFailing = false
  const look = (error: Error, seenBytes: number): void => {
    if (socket.destroyed) return
    if (socket.bytesRead === seenBytes) return void destroy.call(socket, error)
    hear(error)
  }
  const hear = (error: Error): void => {
    // What a slow reader has not asked for yet is not lost either.
    if (socket.isPaused()) socket.once('resume', () => hear(error))
    // By the second one, whatever is there has been read.
    else setImmediate(setImmediate, look, error, socket.bytesRead)
  }
  socket.destroy = (error) => {
    if (error === undefined || Reflect.get(error, 'syscall') !== 'write') return destroy.call(socket, error)
    if (!isFailing) hear(error)
    isFailing = true
    return socket
  }
}
