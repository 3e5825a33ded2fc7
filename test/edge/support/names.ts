import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Owner } from '../../support/waiting.ts'

const [A, AAAA] = [1, 28]
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

function answer(query: Buffer, records: Record<string, string[]>): Buffer {
  const { name, end } = readName(query)
  const type = query.readUInt16BE(end - 4)
  const all = records[name]
  const found = (all ?? []).filter(
    (address) => (type === AAAA) === address.includes(':') && (type === A || type === AAAA),
  )
  const head = Buffer.from(query.subarray(0, 12))
  head.writeUInt16BE(0x8180 | (all ? 0 : NXDOMAIN), 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(found.length, 6)
  head.fill(0, 8)
  const rows = found.map((address) => {
    const bytes = bytesOf(address)
    const row = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, bytes.length])
    return Buffer.concat([row, bytes])
  })
  return Buffer.concat([head, query.subarray(12, end), ...rows])
}

/** A real DNS server on loopback with these records; IPv6 addresses are written out in full. */
export async function startNames(t: Owner, records: Record<string, string[]>): Promise<string> {
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) => socket.send(answer(query, records), port, address))
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => socket.close())
  return `127.0.0.1:${socket.address().port}`
}
