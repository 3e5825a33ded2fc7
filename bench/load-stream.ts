// Many paced streams at once. Reports when all are open, and how each fared when all have ended.
import { connect } from 'node:net'

interface Job {
  port: number
  headers: Record<string, string>
  model: string
  streams: number
  /** Events that each stream should bring. */
  events: number
  everyMs: number
  /** Starts are spread over so long. */
  spreadMs: number
  /** When to stop whatever still runs. */
  limitMs: number
}

const job: Job = JSON.parse(process.argv[2] ?? '{}')
const body = `{"model":"${job.model}","messages":[{"role":"user","content":"hello"}],"stream":true,"max_tokens":100}`
const extra = Object.entries(job.headers).map(([name, value]) => `${name}: ${value}\r\n`)
const request = `POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n${extra.join('')}content-length: ${body.length}\r\n\r\n${body}`

const firstMs: number[] = []
const delaysMs: number[] = []
let [errors, starved, ended, opened] = [0, 0, 0, 0]
function isDone() {
  return ended === job.streams
}

function open(): void {
  const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true })
  const startedAt = performance.now()
  let [seen, lastAt, widestGapMs, tail, isWhole] = [0, 0, 0, '', false]
  socket.on('connect', () => socket.write(request))
  socket.on('data', (bytes: Buffer) => {
    const now = performance.now()
    const nowUs = Number(process.hrtime.bigint() / 1000n)
    const text = tail + bytes.toString('latin1')
    let from = 0
    for (let at = text.indexOf('"@'); at >= 0 && text.length >= at + 17; at = text.indexOf('"@', from)) {
      delaysMs.push((nowUs - Number(text.slice(at + 2, at + 16))) / 1000)
      from = at + 17
      seen += 1
      if (seen === 1) {
        firstMs.push(now - startedAt)
        opened += 1
        if (opened === job.streams) process.send?.({ at: 'open' })
      } else widestGapMs = Math.max(widestGapMs, now - lastAt)
      lastAt = now
    }
    // What is left may hold the beginning of a stamp or of the end.
    tail = text.slice(Math.max(from, text.length - 20))
    if (text.endsWith('\r\n0\r\n\r\n')) {
      isWhole = true
      socket.destroy()
    }
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    if (!isWhole || seen < job.events) errors += 1
    else if (widestGapMs > 1000 + job.everyMs) starved += 1
    ended += 1
    if (isDone()) finish()
  })
}

function finish(): void {
  process.send?.({ at: 'end', errors: errors + job.streams - ended, starved, firstMs, delaysMs })
}

for (let i = 0; i < job.streams; i += 1) setTimeout(open, (i * job.spreadMs) / job.streams)
setTimeout(() => {
  if (!isDone()) finish()
}, job.limitMs)
process.on('disconnect', () => process.exit())
