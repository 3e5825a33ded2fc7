import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Owner } from './waiting.ts'

/** What one connection of the server does with what it has read since it last did something. */
export type Script = (socket: Socket, seen: string, connection: number) => void

export interface ScriptedServer {
  origin: string
  port: number
  /** In the order they came, closed ones too. */
  sockets: Socket[]
}

const hasHead = (seen: string): boolean => seen.includes('\r\n\r\n')

/** A raw server that says exactly what `script` says, whenever what it has read is a whole request. */
export async function startScripted(
  t: Owner,
  script: Script,
  isRequest: (seen: string) => boolean = hasHead,
): Promise<ScriptedServer> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    const connection = sockets.push(socket)
    let seen = ''
    socket
      .setNoDelay(true)
      .on('error', () => undefined)
      .on('data', (bytes) => {
        seen += bytes.toString('latin1')
        if (!isRequest(seen)) return
        const whole = seen
        seen = ''
        script(socket, whole, connection)
      })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { origin: `http://127.0.0.1:${port}`, port, sockets }
}
