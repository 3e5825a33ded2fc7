import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Owner } from './waiting.ts'

/** `pass`: as it comes; `silent`: a partition, nothing moves; `deaf`: what is asked arrives, the answer is lost with the connection. */
export type ProxyMode = 'pass' | 'silent' | 'deaf'

/** A way to a port that can be disturbed. */
export interface TcpProxy {
  port: number
  set(mode: ProxyMode): void
  /** How many answers were lost in the mode `deaf`. */
  lost(): number
}

export async function startProxy(t: Owner, target: number): Promise<TcpProxy> {
  let mode: ProxyMode = 'pass'
  let lost = 0
  const pairs = new Set<{ near: Socket; far: Socket }>()
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    const pair = { near, far }
    pairs.add(pair)
    const end = () => {
      pairs.delete(pair)
      near.destroy()
      far.destroy()
    }
    for (const socket of [near, far]) socket.on('error', end).on('close', end)
    near.on('data', (bytes) => far.write(bytes))
    far.on('data', (bytes) => {
      if (mode !== 'deaf') return near.write(bytes)
      lost += 1
      return end()
    })
    if (mode === 'silent') pause(pair)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const { near, far } of pairs) for (const socket of [near, far]) socket.destroy()
    server.close()
  })
  const address = server.address()
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    lost: () => lost,
    set: (next) => {
      mode = next
      for (const pair of pairs) if (next === 'silent') pause(pair)
      // Connections that were silent stay so: a real partition leaves them behind.
    },
  }
}

function pause({ near, far }: { near: Socket; far: Socket }): void {
  near.pause()
  far.pause()
}
