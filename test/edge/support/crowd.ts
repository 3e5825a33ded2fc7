// Run by itself, inside the network namespace of a hostile client: `node crowd.ts <options as JSON>`. Opens so many
// connections, leaves each where its kind stalls, opens those anew that are ended, and says once a second how it stands.
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

export interface CrowdOptions {
  host: string
  name: string
  /** A whole ClientHello, base64. */
  hello: string
  count: number
  /** Of ended connections, how many are opened again in a second. */
  againPerSecond: number
}

/** How a crowd stands: open now, opened in all. */
export interface CrowdReport {
  open: number
  opened: number
}

const HTTP = 80
const HTTPS = 443
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const EMPTY_SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
const HALF_HEADERS = Buffer.from([0, 0, 20, 1, 0, 0, 0, 0, 1, 0x82])

const options: CrowdOptions = JSON.parse(process.argv[2] ?? '')
const hello = Buffer.from(options.hello, 'base64')
const { host, name: servername } = options

const plain = (port: number, bytes: Buffer | string) => () => {
  const socket = connect({ host, port })
  socket.once('connect', () => socket.write(bytes))
  return socket
}

const encrypted = (bytes: Buffer | string, protocol: string) => (): Socket => {
  const socket = connectTls({
    host,
    port: HTTPS,
    servername,
    rejectUnauthorized: false,
    ALPNProtocols: [protocol],
  })
  socket.once('secureConnect', () => socket.write(bytes))
  return socket
}

/** Every place where a connection can stop before a request is whole. */
const KINDS = [
  plain(HTTPS, ''),
  plain(HTTPS, hello.subarray(0, hello.length / 2)),
  plain(HTTPS, hello),
  encrypted('', 'http/1.1'),
  encrypted('POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-A: ', 'http/1.1'),
  encrypted(Buffer.concat([Buffer.from(PREFACE), EMPTY_SETTINGS, HALF_HEADERS]), 'h2'),
  plain(HTTP, ''),
  plain(HTTP, 'GET / HTTP/1.1\r\nHost: x\r\nX-A: '),
]
/** So many are on their way at once at first: a crowd, not one burst that this machine's own queues would drop. */
const AT_ONCE = 100
const EVERY_MS = 20
const report: CrowdReport = { open: 0, opened: 0 }
let waiting = options.count

function open(): void {
  waiting--
  let isOpen = false
  const socket = (KINDS[report.opened++ % KINDS.length] ?? plain(HTTPS, ''))()
  socket.once('connect', () => {
    isOpen = true
    report.open++
  })
  socket.on('error', () => undefined)
  socket.resume()
  socket.once('close', () => {
    if (isOpen) report.open--
    waiting++
  })
}

setInterval(() => {
  const isFirst = report.opened < options.count
  const most = isFirst ? AT_ONCE : Math.ceil((options.againPerSecond * EVERY_MS) / 1000)
  for (let left = Math.min(most, waiting); left > 0; left--) open()
}, EVERY_MS)
setInterval(() => process.stdout.write(`${JSON.stringify(report)}\n`), 1000)
