// Closed-loop load over keep-alive connections: each sends its next request when the answer is whole.
// Started by run.ts with a JSON argument; reports its counts at the window's two ends.
import type { Socket } from 'node:net'
import { connect } from 'node:net'

interface Job {
  port: number
  request: { path?: string; model: string; bytes: number; stream: boolean; headers: Record<string, string> }
  connections: number
  warmMs: number
  /** How many are made at least before the window opens, for at most 25 seconds. */
  warmRequests?: number
  windowMs: number
}

const MOST_WARM_MS = 25_000
const job: Job = JSON.parse(process.argv[2] ?? '{}')
const request = buildRequest(job.request)
const latenciesMs: number[] = []
let [completed, failed, isMeasuring, isOver] = [0, 0, false, false]

function buildRequest({ path, model, bytes, stream, headers }: Job['request']): Buffer {
  const extra = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  if (path !== undefined)
    return Buffer.from(`GET ${path} HTTP/1.1\r\nhost: bench\r\naccept: */*\r\n${extra.join('')}\r\n`)
  const around = (text: string) =>
    `{"model":"${model}","messages":[{"role":"user","content":"${text}"}]${stream ? ',"stream":true' : ''},"max_tokens":100}`
  const body = around('lorem ipsum '.repeat(Math.ceil(bytes / 12)).slice(0, bytes - around('').length))
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n${extra.join('')}`
  return Buffer.from(`${head}content-length: ${body.length}\r\n\r\n${body}`)
}

/** How many bytes the answer has from here on; undefined while its head is incomplete, Infinity when chunked. */
function answerLength(bytes: Buffer): number | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const head = bytes.toString('latin1', 0, end)
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  if (!head.startsWith('HTTP/1.1 200')) failed += 1
  return length === undefined ? Number.POSITIVE_INFINITY : end + 4 + Number(length)
}

function open(): void {
  const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true })
  let sentAt = 0
  let head: Buffer | undefined
  let [got, want, tail] = [0, 0, '']
  const send = () => {
    ;[head, got, want, sentAt] = [undefined, 0, 0, performance.now()]
    socket.write(request)
  }
  socket.on('connect', send)
  socket.on('data', (bytes: Buffer) => {
    got += bytes.length
    if (want === 0) {
      head = head ? Buffer.concat([head, bytes]) : bytes
      want = answerLength(head) ?? 0
    }
    // The last chunk may be torn, so the end is looked for across reads.
    tail = (tail + bytes.toString('latin1', Math.max(0, bytes.length - 5))).slice(-5)
    const isChunkedEnd = want === Number.POSITIVE_INFINITY && tail === '0\r\n\r\n'
    if (want === 0 || !(got >= want || isChunkedEnd)) return
    completed += 1
    if (isMeasuring) latenciesMs.push(performance.now() - sentAt)
    if (!isOver) send()
  })
  socket.on('error', () => undefined)
  socket.on('close', () => reopen(socket))
}

function reopen(socket: Socket): void {
  socket.removeAllListeners()
  if (isOver) return
  failed += 1
  setTimeout(open, 5)
}

function report(at: 'start' | 'end') {
  return process.send?.({ at, completed, failed, latenciesMs, clockMs: performance.now() })
}

for (let i = 0; i < job.connections; i += 1) open()

/** The window opens after `warmMs`, on a slow machine later: as many requests are needed until all code is compiled. */
function openWindow(): void {
  const isWarm = completed >= (job.warmRequests ?? 0) || performance.now() > MOST_WARM_MS
  if (!isWarm) {
    setTimeout(openWindow, 100)
    return
  }
  isMeasuring = true
  report('start')
  setTimeout(() => {
    isOver = true
    report('end')
  }, job.windowMs)
}
setTimeout(openWindow, job.warmMs)
process.on('disconnect', () => process.exit())
