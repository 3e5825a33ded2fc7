import { once } from 'node:events'
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { request as openRequest } from 'node:http'
import { connect } from 'node:net'

interface Target {
  port: number
}

export interface Sent {
  method?: string
  path: string
  headers?: OutgoingHttpHeaders
  /** An object is sent as JSON; bytes and strings as they are. */
  body?: string | Buffer | object
}

export interface Reply {
  status: number
  headers: IncomingHttpHeaders
  rawHeaders: readonly string[]
  body: Buffer
  text: string
  /** The body parsed; tests look into it where they like. */
  json(): ReturnType<typeof JSON.parse>
}

/** A piece of a streamed answer, as the socket delivered it. */
export interface Piece {
  bytes: Buffer
  /** Milliseconds on the `performance.now()` clock. */
  at: number
}

/** An answer whose head is there and whose body is still coming. */
export interface OpenStream extends AsyncIterable<Piece> {
  status: number
  headers: IncomingHttpHeaders
  /** Leaves, as a client that hangs up. */
  abort(): void
  /** Stops reading, so that back-pressure builds up. */
  pause(): void
  resume(): void
  /** The rest of the body as text; `cut` tells a broken end from a whole one. */
  rest(): Promise<{ text: string; cut: boolean }>
}

/** The credential of a token, as a header. */
export function bearer(token: string): OutgoingHttpHeaders {
  return { authorization: `Bearer ${token}` }
}

function begin({ port }: Target, { method = 'GET', path, headers = {}, body }: Sent) {
  const isBytes = typeof body === 'string' || Buffer.isBuffer(body)
  const bytes = Buffer.from(body === undefined ? '' : isBytes ? body : JSON.stringify(body))
  const framing = { 'content-type': 'application/json', 'content-length': bytes.length }
  const all = { ...(body === undefined ? {} : framing), ...headers }
  // A connection of its own each time: nothing of one test reaches the next.
  const sending = openRequest({ host: '127.0.0.1', port, method, path, headers: all, agent: false })
  // Once the answer has begun, its reader tells what went wrong.
  sending.on('error', () => undefined)
  sending.end(bytes)
  return sending
}

interface Begun {
  sending: ClientRequest
  incoming: IncomingMessage
}

async function answerOf(target: Target, sent: Sent): Promise<Begun> {
  const sending = begin(target, sent)
  const [incoming] = (await once(sending, 'response')) as [IncomingMessage]
  return { sending, incoming }
}

/** Sends one request and reads the whole answer; rejects when it is cut. */
export async function send(target: Target, sent: Sent): Promise<Reply> {
  return readAll((await answerOf(target, sent)).incoming)
}

/** The whole answer; rejects when it is cut. */
export async function readAll(incoming: IncomingMessage): Promise<Reply> {
  const pieces: Buffer[] = []
  for await (const piece of incoming) pieces.push(piece)
  const body = Buffer.concat(pieces)
  return {
    status: incoming.statusCode ?? 0,
    headers: incoming.headers,
    rawHeaders: incoming.rawHeaders,
    body,
    text: body.toString(),
    json: () => JSON.parse(body.toString()),
  }
}

export function get(target: Target, path: string, headers: OutgoingHttpHeaders = {}): Promise<Reply> {
  return send(target, { path, headers })
}

export function post(
  target: Target,
  path: string,
  body: string | Buffer | object,
  headers: OutgoingHttpHeaders = {},
): Promise<Reply> {
  return send(target, { method: 'POST', path, body, headers })
}

/** A request whose client can leave before its answer has begun; `left` resolves when it has. */
export function sendLeaving({ url }: Target & { url: string }, { path, headers, body }: Sent) {
  const leaving = new AbortController()
  const left = fetch(`${url}${path}`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' } as Record<string, string>,
    body: JSON.stringify(body),
    signal: leaving.signal,
  }).then(
    () => false,
    () => true,
  )
  return { leave: () => leaving.abort(), left }
}

/** Sends one request and hands over the answer's body piece by piece. */
export async function openStream(target: Target, sent: Sent): Promise<OpenStream> {
  return streamOf(await answerOf(target, { method: 'POST', ...sent }))
}

/** An answer that has begun. */
export function streamOf({ sending, incoming }: Begun): OpenStream {
  const pieces = async function* (): AsyncGenerator<Piece> {
    for await (const bytes of incoming) yield { bytes, at: performance.now() }
  }
  return {
    status: incoming.statusCode ?? 0,
    headers: incoming.headers,
    abort: () => sending.destroy(),
    pause: () => incoming.pause(),
    resume: () => incoming.resume(),
    rest: () => readRest(incoming),
    [Symbol.asyncIterator]: pieces,
  }
}

function readRest(incoming: IncomingMessage): Promise<{ text: string; cut: boolean }> {
  const pieces: Buffer[] = []
  // An iterator would lose what came together with the cut.
  incoming.on('data', (piece: Buffer) => pieces.push(piece))
  incoming.on('error', () => undefined)
  return new Promise((resolve, reject) => {
    // What nobody read of a connection that is cut is gone: whoever expects that begins to read before.
    if (incoming.closed) reject(new Error('cut before anybody read the rest'))
    incoming.once('close', () => resolve({ text: Buffer.concat(pieces).toString(), cut: !incoming.complete }))
  })
}

/** Writes these very bytes to the port and returns what comes back until the close or a silence. */
export async function rawRequest(port: number, bytes: Buffer | string, silenceMs = 500): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  const pieces: Buffer[] = []
  socket.on('data', (piece: Buffer) => pieces.push(piece))
  socket.on('error', () => undefined)
  socket.setTimeout(silenceMs, () => socket.destroy())
  socket.write(bytes)
  await new Promise((closed) => socket.once('close', closed))
  return Buffer.concat(pieces).toString('latin1')
}

export interface CreditsSeen {
  credited: number
  balance: number
  held: number
  charged: number
}

/** The token's credits, as its owner sees them. */
export async function credits(target: Target, token: string): Promise<CreditsSeen> {
  const reply = await get(target, '/v1/token', bearer(token))
  if (reply.status !== 200) throw new Error(`GET /v1/token answered ${reply.status}: ${reply.text}`)
  return reply.json().credits
}
