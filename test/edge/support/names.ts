import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Owner } from '../../support/waiting.ts'

const [A, NS, AAAA] = [1, 2, 28]
const NXDOMAIN = 3

const readName = (query: Buffer): { name: string; end: number } => {
  const labels: string[] = []
  let at = 12
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.'), end: at + 5 }
}

const bytesOf = (address: string): Buffer =>
  address.includes(':')
    ? Buffer.from(
        address.split(':').flatMap((part) => [Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16)]),
      )
    : Buffer.from(address.split('.').map(Number))

const labelsOf = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0]),
  ])

interface Zones {
  records: Record<string, string[]>
  servers: Record<string, string[]>
}

function answer(query: Buffer, { records, servers }: Zones): Buffer {
  const { name, end } = readName(query)
  const type = query.readUInt16BE(end - 4)
  const all = records[name] ?? servers[name]
  const addresses = (records[name] ?? []).filter(
    (address) => (type === AAAA) === address.includes(':') && (type === A || type === AAAA),
  )
  const found = type === NS ? (servers[name] ?? []).map(labelsOf) : addresses.map(bytesOf)
  const head = Buffer.from(query.subarray(0, 12))
  head.writeUInt16BE(0x8180 | (all ? 0 : NXDOMAIN), 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(found.length, 6)
  head.fill(0, 8)
  const rows = found.map((bytes) => {
    const row = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, bytes.length])
    return Buffer.concat([row, bytes])
  })
  return Buffer.concat([head, query.subarray(12, end), ...rows])
}

/** A real DNS server on loopback with these records, and name servers of zones; IPv6 addresses are written out in full. */
export async function startNames(
  t: Owner,
  records: Record<string, string[]>,
  servers: Record<string, string[]> = {},
): Promise<string> {
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) =>
    socket.send(answer(query, { records, servers }), port, address),
  )
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => socket.close())
  return `127.0.0.1:${socket.address().port}`
}
