import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import type { Dice } from './random.ts'

/** What a case may know of the gateway it is for. */
export interface Target {
  token: string
}

/** A request in its parts, as a decent client would send it; what is done to it later is no longer decent. */
export interface Draft {
  method: string
  path: string
  version: string
  /** In order, names as they are written. */
  headers: [name: string, value: string][]
  body: Buffer
  framing: 'none' | 'length' | 'chunked'
}

const BOUNDARY = 'a-boundary-of-the-fuzzer'
const WORDS = ['hi', 'Tell me everything', 'héllo 👋', '"\\u0000"', 'x'.repeat(3_000), '\ud800']
const JSON_PATHS = [
  '/v1/chat/completions',
  '/v1/chat/completions',
  '/v1/chat/completions',
  '/chat/completions',
  '/v1//v1/chat/completions/',
  '/openai/deployments/m/chat/completions?api-version=1',
  '/v1/completions',
  '/v1/responses',
  '/v1/messages',
  '/v1/embeddings',
  '/v1/moderations',
  '/v1/audio/speech',
  '/v1/images/generations',
  '/v1/files/batch',
]
const FORM_PATHS = ['/v1/audio/transcriptions', '/v1/audio/translations', '/v1/images/edits']
const PLAIN_PATHS = [
  '/health',
  '/ready',
  '/v1/models',
  '/v1/models/m',
  '/v1/token',
  '/v1/files/a',
  '/metrics',
  '/nowhere',
  '/',
]
const SOCKET_PATHS = [
  '/v1/realtime?model=rt',
  '/v1/realtime?model=rt',
  '/v1/realtime',
  '/ws',
  '/open',
  '/v1/models',
]

const jsonBody = (dice: Dice): Buffer => {
  const content = dice.pick(WORDS)
  const body: Record<string, unknown> = {
    model: dice.percent(85) ? 'm' : dice.pick(['zzz', '', 'M', 1, null, ['m']]),
    messages: [{ role: 'user', content }],
    max_tokens: dice.pick([5, 5, 5, 1e9, -1, '5', null]),
    stream: dice.pick([true, false, false, 'yes']),
  }
  if (dice.percent(20)) body.input = dice.pick([content, [content, content], 1])
  if (dice.percent(20)) body.prompt = content
  if (dice.percent(10)) body.n = dice.pick([1, 2, 1e6, -1])
  if (dice.percent(10)) body.stream_options = dice.pick([{ include_usage: true }, null, [], {}])
  return Buffer.from(JSON.stringify(body))
}

/** A body in some coding, which is not always its own. */
const coded = (dice: Dice, body: Buffer): { coding: string; bytes: Buffer } => {
  const [coding, encode] = dice.pick([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
  ] as const)
  const bytes = encode(dice.percent(10) ? Buffer.alloc(2 ** 22, ' ') : body)
  return { coding: dice.percent(80) ? coding : dice.pick(['gzip', 'zstd', 'gzip, br', 'x', '']), bytes }
}

const formBody = (dice: Dice): Buffer => {
  const file = Buffer.alloc(dice.percent(3) ? 300_000 : dice.between(0, 2_000), 'a')
  const field = (name: string, value: string) =>
    Buffer.from(`--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`)
  const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n`
  const parts = [
    field('model', dice.percent(85) ? 'm' : 'zzz'),
    Buffer.concat([Buffer.from(head), file, Buffer.from('\r\n')]),
    ...(dice.percent(30) ? [field('prompt', dice.pick(WORDS))] : []),
  ]
  if (dice.percent(30)) parts.reverse()
  return Buffer.concat([...parts, Buffer.from(`--${BOUNDARY}--\r\n`)])
}

const credential = (dice: Dice, { token }: Target): [string, string][] => {
  if (dice.percent(70)) return [['Authorization', `Bearer ${token}`]]
  return dice.pick<[string, string][]>([
    [],
    [['Authorization', 'Bearer gw-unknown']],
    [['x-api-key', token]],
    [['Authorization', `bearer  ${token} `]],
    [['api-key', `${token}\x80`]],
  ])
}

/** One request, whole and right (though it may ask for what there is not). */
export function draftRequest(dice: Dice, target: Target): Draft {
  const base: Draft['headers'] = [['Host', 'gateway.example'], ...credential(dice, target)]
  const draft: Draft = {
    method: 'GET',
    path: dice.pick(PLAIN_PATHS),
    version: 'HTTP/1.1',
    headers: base,
    body: Buffer.alloc(0),
    framing: 'none',
  }
  const kind = dice.below(100)
  if (kind < 20) return { ...draft, method: dice.pick(['GET', 'GET', 'HEAD', 'OPTIONS', 'DELETE']) }
  if (kind < 40) return draftHandshake(dice, draft)
  const isForm = kind < 55
  const type = isForm ? `multipart/form-data; boundary=${BOUNDARY}` : 'application/json'
  const plain = isForm ? formBody(dice) : jsonBody(dice)
  const packed = dice.percent(15) ? coded(dice, plain) : undefined
  return {
    ...draft,
    method: 'POST',
    path: dice.pick(isForm ? FORM_PATHS : JSON_PATHS),
    headers: [
      ...base,
      ['Content-Type', type],
      ...(packed ? [['Content-Encoding', packed.coding] as [string, string]] : []),
    ],
    body: packed?.bytes ?? plain,
    framing: dice.percent(70) ? 'length' : 'chunked',
  }
}

function draftHandshake(dice: Dice, draft: Draft): Draft {
  const headers: Draft['headers'] = [
    ...draft.headers,
    ['Connection', 'Upgrade'],
    ['Upgrade', dice.percent(90) ? 'websocket' : dice.pick(['WebSocket', 'h2c', 'websocket, h2c', ''])],
    ['Sec-WebSocket-Version', dice.percent(90) ? '13' : '8'],
    ['Sec-WebSocket-Key', dice.percent(90) ? 'dGhlIHNhbXBsZSBub25jZQ==' : 'short'],
  ]
  if (dice.percent(20)) headers.push(['Sec-WebSocket-Protocol', dice.pick(['realtime', 'a, b', ',', 'a b'])])
  if (dice.percent(10)) headers.push(['Origin', 'https://evil.example'])
  return { ...draft, path: dice.pick(SOCKET_PATHS), headers }
}

/** As bytes: what `framing` says is added to the headers. */
export function writeRequest(dice: Dice, draft: Draft): Buffer {
  const { method, path, version, headers, body, framing } = draft
  const all = [...headers]
  if (framing === 'length') all.push(['Content-Length', String(body.length)])
  if (framing === 'chunked') all.push(['Transfer-Encoding', 'chunked'])
  const lines = all.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const head = Buffer.from(`${method} ${path} ${version}\r\n${lines}\r\n`, 'latin1')
  return Buffer.concat([head, framing === 'chunked' ? writeChunks(dice, body) : body])
}

function writeChunks(dice: Dice, body: Buffer): Buffer {
  const pieces: Buffer[] = []
  for (let at = 0; at < body.length; ) {
    const size = dice.percent(10) ? dice.between(1, 3) : dice.between(50, 100_000)
    const piece = body.subarray(at, at + size)
    at += size
    pieces.push(
      Buffer.from(`${piece.length.toString(16)}${dice.percent(5) ? ';a=b' : ''}\r\n`),
      piece,
      Buffer.from('\r\n'),
    )
  }
  return Buffer.concat([...pieces, Buffer.from(dice.percent(5) ? '0\r\nX-Trailer: a\r\n\r\n' : '0\r\n\r\n')])
}
