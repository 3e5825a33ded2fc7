import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { healthy } from './answers.ts'
import type { Answer, Behaviour, Call, SeenRequest } from './behaviour.ts'
import type { Owner, Waiting } from './waiting.ts'
import { createWaiting } from './waiting.ts'

/** A real server that does as it is told. */
export interface FakeProvider {
  /** The base URL, `/v1` included. */
  url: string
  origin: string
  port: number
  requests: SeenRequest[]
  /** The answer to the next request and all that follow (those queued come first). */
  answer(answer: Answer): void
  /** The answers to one request each. */
  queue(...answers: Answer[]): void
  /** The n-th request (from 1), once its body is there or its sender gone. */
  waitForRequest(n?: number): Promise<SeenRequest>
  /** The n-th request (from 1) whose sender left before the answer ended. */
  waitForAbort(n?: number): Promise<SeenRequest>
  /** How many TCP connections there have been. */
  readonly connections: number
  /** How many are open now. */
  readonly openConnections: number
  close(): Promise<void>
}

export interface ProviderOptions {
  /** `false` for uploads too large to keep. */
  keepBodies?: boolean
  tls?: { key: string; cert: string }
  /** Where it listens; 127.0.0.1 unless given. */
  address?: string
  /** The name in `url`; a certificate is made out to a name. */
  host?: string
}

interface State {
  requests: SeenRequest[]
  queued: Answer[]
  standing: Answer
  waiting: Waiting
  sockets: Set<Socket>
  connections: number
  keepBodies: boolean
}

/** Starts a provider on a free port; it is closed with the test. */
export async function startProvider(t: Owner, options: ProviderOptions = {}): Promise<FakeProvider> {
  const { keepBodies = true, tls, address = '127.0.0.1', host = address } = options
  const state: State = {
    requests: [],
    queued: [],
    standing: healthy(),
    waiting: createWaiting(),
    sockets: new Set(),
    connections: 0,
    keepBodies,
  }
  const serve = (req: IncomingMessage, res: ServerResponse) => receive(state, req, res)
  const limits = { maxHeaderSize: 512 * 1024, requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 60_000 }
  const server = tls ? createTlsServer({ ...limits, ...tls }, serve) : createServer(limits, serve)
  server.on('connection', (socket: Socket) => remember(state, socket))
  server.listen(0, address)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of state.sockets) socket.destroy()
    await closed
  }
  t.teardown(close)
  return describeProvider(state, { origin: `${tls ? 'https' : 'http'}://${host}:${port}`, port, close })
}

function describeProvider(
  state: State,
  { origin, port, close }: Pick<FakeProvider, 'origin' | 'port' | 'close'>,
): FakeProvider {
  const { requests, waiting } = state
  return {
    url: `${origin}/v1`,
    origin,
    port,
    requests,
    answer: (answer) => {
      state.standing = answer
    },
    queue: (...answers) => {
      state.queued.push(...answers)
    },
    waitForRequest: (n = 1) => waiting.until(`request ${n} at the provider`, () => arrived(requests[n - 1])),
    waitForAbort: (n = 1) =>
      waiting.until(`abort ${n} at the provider`, () => requests.filter((seen) => seen.aborted)[n - 1]),
    get connections() {
      return state.connections
    },
    get openConnections() {
      return state.sockets.size
    },
    close,
  }
}

function arrived(seen: SeenRequest | undefined) {
  return seen?.complete || seen?.aborted ? seen : undefined
}

function remember(state: State, socket: Socket): void {
  state.connections += 1
  state.sockets.add(socket)
  socket.on('error', () => undefined)
  socket.on('close', () => state.sockets.delete(socket))
}

function receive(state: State, req: IncomingMessage, res: ServerResponse): void {
  const seen = describeRequest(req)
  const call = describeCall(seen, req, res, () => state.waiting.check())
  state.requests.push(seen)
  const answer = state.queued.shift() ?? state.standing
  // Chosen late unless it is an early one: a choice may look into the body.
  const early: Behaviour | undefined = typeof answer !== 'function' && answer.early ? answer : undefined
  const pieces: Buffer[] = []
  req.on('data', (piece: Buffer) => {
    seen.bodyBytes += piece.length
    if (state.keepBodies) pieces.push(piece)
  })
  req.on('end', () => {
    seen.body = Buffer.concat(pieces)
    seen.complete = true
    if (!early) perform(typeof answer === 'function' ? answer(seen) : answer, call)
    state.waiting.check()
  })
  if (early) perform(early, call)
}

function perform(behaviour: Behaviour, call: Call): void {
  Promise.resolve(behaviour.act(call)).catch((error: unknown) => {
    // A caller that leaves in the middle is no mistake of the behaviour; anything else must be seen.
    if (!call.res.destroyed) throw error
  })
}

function describeRequest(req: IncomingMessage): SeenRequest {
  return {
    method: req.method ?? '',
    url: req.url ?? '',
    headers: req.headers,
    rawHeaders: req.rawHeaders,
    body: Buffer.alloc(0),
    bodyBytes: 0,
    complete: false,
    aborted: false,
    at: Date.now(),
    json() {
      return JSON.parse(this.body.toString())
    },
  }
}

function describeCall(
  seen: SeenRequest,
  req: IncomingMessage,
  res: ServerResponse,
  changed: () => void,
): Call {
  const { socket } = req
  let isOurs = false
  res.on('error', () => undefined)
  res.on('close', () => {
    seen.aborted = !isOurs && !res.writableFinished
    changed()
  })
  const leaving = () => {
    isOurs = true
  }
  const reset = () => {
    leaving()
    // TLS sockets own no TCP handle that could be reset.
    if ('encrypted' in socket) socket.destroy()
    else socket.resetAndDestroy()
  }
  return { seen, req, res, socket, reset, leaving }
}
