// A provider that costs next to nothing: one thread, HTTP by hand on node:net, answers made beforehand.
// The model's name says what comes: `sse-50-0ms` is a burst of 50 events, `sse-250-20ms` a paced stream.
import type { AddressInfo, Socket } from 'node:net'
import { createServer } from 'node:net'

const HEADERS = [
  'access-control-expose-headers: X-Request-ID',
  'openai-organization: org-bench',
  'openai-processing-ms: 312',
  'openai-version: 2020-10-01',
  'x-ratelimit-limit-requests: 10000',
  'x-ratelimit-remaining-requests: 9999',
  'x-ratelimit-reset-requests: 6ms',
  'x-request-id: req_0123456789abcdef0123456789abcdef',
  'strict-transport-security: max-age=31536000; includeSubDomains',
].join('\r\n')

const USAGE =
  '"usage":{"prompt_tokens":19,"completion_tokens":21,"total_tokens":40,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
const BASE =
  '"created":1790000000,"model":"bench","service_tier":"default","system_fingerprint":"fp_44709d6fcb"'

function plainAnswer(): Buffer {
  const around = (text: string) =>
    `{"id":"chatcmpl-bench","object":"chat.completion",${BASE},"choices":[{"index":0,"message":{"role":"assistant","content":"${text}","refusal":null},"logprobs":null,"finish_reason":"stop"}],${USAGE}}`
  const body = around('x'.repeat(686 - around('').length))
  return Buffer.from(
    `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n${HEADERS}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  )
}

const STREAM_HEAD = `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n${HEADERS}\r\ntransfer-encoding: chunked\r\n\r\n`
function toChunk(event: string) {
  return `${event.length.toString(16)}\r\n${event}\r\n`
}
function wrap(rest: string) {
  return toChunk(`data: {"id":"chatcmpl-bench","object":"chat.completion.chunk",${BASE},${rest}}\n\n`)
}
const STREAM_END = `${wrap(`"choices":[],${USAGE}`)}${toChunk('data: [DONE]\n\n')}0\r\n\r\n`

/** One event of about 220 bytes; `sent` is the monotonic clock in microseconds, the same for every process. */
function streamEvent(sent: string) {
  return wrap(`"choices":[{"index":0,"delta":{"content":"@${sent}@"},"finish_reason":null}]`)
}
function nowUs() {
  return String(process.hrtime.bigint() / 1000n).padStart(14, '0')
}

const PLAIN = plainAnswer()
const bursts = new Map<number, Buffer>()

function burst(count: number): Buffer {
  const known = bursts.get(count)
  if (known) return known
  const made = Buffer.from(STREAM_HEAD + streamEvent('0'.repeat(14)).repeat(count) + STREAM_END)
  bursts.set(count, made)
  return made
}

function pace(socket: Socket, count: number, everyMs: number): void {
  let left = count - 1
  socket.write(STREAM_HEAD + streamEvent(nowUs()), 'latin1')
  const timer = setInterval(() => {
    if (socket.destroyed) {
      clearInterval(timer)
      return
    }
    left -= 1
    socket.write(left < 0 ? STREAM_END : streamEvent(nowUs()), 'latin1')
    if (left < 0) clearInterval(timer)
  }, everyMs)
}

/** What a service answers a GET: 500 bytes. */
const OF_SERVICE = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n${HEADERS}\r\ncontent-length: 500\r\n\r\n${'x'.repeat(500)}`
const SMALL = Buffer.from(OF_SERVICE)

function answer(socket: Socket, bodyStart: string): void {
  const [, count, everyMs] = /"model":\s*"sse-(\d+)-(\d+)ms"/.exec(bodyStart) ?? []
  if (count === undefined) socket.write(PLAIN)
  else if (everyMs === '0') socket.write(burst(Number(count)))
  else pace(socket, Number(count), Number(everyMs))
}

/** Reads request after request of one connection; a body is counted, not kept. */
function serve(socket: Socket): void {
  let head = ''
  let bodyLeft = 0
  let bodyStart = ''
  let isGet = false
  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('data', (bytes: Buffer) => {
    let rest = bytes
    if (bodyLeft === 0) {
      head += rest.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      bodyLeft = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
      rest = rest.subarray(rest.length - (head.length - end - 4))
      isGet = head.startsWith('GET ')
      head = ''
      bodyStart = ''
    }
    if (bodyStart.length < 300) bodyStart += rest.toString('latin1', 0, 300)
    bodyLeft -= rest.length
    if (bodyLeft <= 0) {
      bodyLeft = 0
      if (isGet) socket.write(SMALL)
      else answer(socket, bodyStart)
    }
  })
}

const server = createServer(serve).listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as AddressInfo).port })
})
process.on('disconnect', () => process.exit())
