import { readFileSync } from 'node:fs'

/** Bytes that the kernel keeps for the connections of one server on loopback. */
export interface TcpQueues {
  /** The bytes that the server's side sent and the other has not taken, and the other way round. */
  fromServer: number
  toServer: number
}

function hexPort(address = ''): number {
  return Number.parseInt(address.split(':')[1] ?? '0', 16)
}

/** Reads Linux's own account of all connections with `port` at one end. */
export function readQueues(port: number): TcpQueues {
  const queues = { fromServer: 0, toServer: 0 }
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1)) {
    const [, local, remote, , sizes = ''] = line.trim().split(/\s+/)
    const [sending = 0, unread = 0] = sizes.split(':').map((size) => Number.parseInt(size, 16))
    if (hexPort(local) === port) {
      queues.fromServer += sending
      queues.toServer += unread
    } else if (hexPort(remote) === port) {
      queues.toServer += sending
      queues.fromServer += unread
    }
  }
  return queues
}
