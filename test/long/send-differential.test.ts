import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { Deadlines } from '../../src/deadlines.ts'
import { openUpstreams } from '../../src/upstream/upstreams.ts'
import { sendBy } from '../support/service-sender.ts'
import type { Owner } from '../support/waiting.ts'

/** Answers as services give them, and the method that each answers. */
const ANSWERS: readonly (readonly [method: string, answer: string])[] = [
  ['GET', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\r\nhello'],
  ['GET', 'HTTP/1.1 200 OK\r\nX-A:  b \t\r\nx-empty:\r\ncontent-length: 0\r\n\r\n'],
  ['GET', 'HTTP/1.1 200 \r\nx-latin: \xe9\r\ncontent-length: 1\r\n\r\nx'],
  [
    'GET',
    'HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n',
  ],
  [
    'POST',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nGrpc-Status:0\r\n\r\n',
  ],
  ['GET', 'HTTP/1.0 200 OK\r\nserver: old\r\n\r\nuntil the end'],
  ['GET', 'HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold'],
  ['GET', 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end'],
  ['HEAD', 'HTTP/1.1 200 OK\r\ncontent-length: 999\r\netag: "x"\r\n\r\n'],
  ['HEAD', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'],
  ['GET', 'HTTP/1.1 204 No Content\r\nx: y\r\n\r\n'],
  ['GET', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 999\r\netag: W/"x"\r\n\r\n'],
  ['GET', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'],
  ['GET', 'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab'],
  ['GET', 'HTTP/1.1 302 Found\r\nLocation: /x\r\nVary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n'],
]
/** What breaks a line, ends a name, or is no character of a head. */
const HOSTILE = ['\0', '\r', '\n', ' ', ':', '9']
const AT_ONCE = 32

interface Reading {
  refused: boolean
  status?: number | undefined
  reason?: string | undefined
  headers?: string[]
  trailers?: string[]
  informed?: number[]
  body?: string
}

interface Case {
  method: string
  pieces: readonly string[]
}

/** Where Node alone refuses, and by which rule it need not. */
const NODE_ALONE: readonly { is(answer: string): boolean; why: string }[] = [
  {
    is: (answer) => /\r\nA;[^\r\n]*\r\n/.test(answer),
    why: 'RFC 9112 section 7.1.1: unknown extensions of a chunk are passed over, and never passed on',
  },
]

async function serve(t: Owner, cases: readonly Case[]): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true))
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    socket.once('data', (bytes) => {
      const found = cases[Number(/^\w+ \/(\d+) /.exec(bytes.toString('latin1'))?.[1])]
      if (found) void say(socket, found.pieces)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function say(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    if (piece !== '') socket.write(piece, 'latin1')
    await setImmediate()
  }
  socket.end()
}

const readWithNode = (port: number, path: string, method: string): Promise<Reading> =>
  new Promise((resolve, reject) => {
    const informed: number[] = []
    const refuse = () => resolve({ refused: true })
    const read = (message: IncomingMessage) => {
      let body = ''
      message.setEncoding('latin1')
      message.on('data', (piece) => {
        body += piece
      })
      message.on('error', refuse).on('aborted', refuse)
      message.on('end', () => {
        if (!message.complete) return refuse()
        const { statusCode: status, statusMessage, rawHeaders, rawTrailers } = message
        // Otherwise it could not be passed on: Node itself refuses to write it.
        const reason = /[^\t\x20-\x7e\x80-\xff]/.test(statusMessage ?? '') ? '' : statusMessage
        resolve({
          refused: false,
          status,
          reason,
          headers: rawHeaders,
          trailers: rawTrailers,
          informed,
          body,
        })
      })
    }
    request({ host: '127.0.0.1', port, path, method, agent: false }, read)
      .on('information', ({ statusCode }) => informed.push(statusCode))
      .on('upgrade', (_message, socket) => {
        socket.destroy()
        refuse()
      })
      // A machine that cannot connect has refused nothing.
      .on('error', (error) => (Reflect.get(error, 'syscall') === 'connect' ? reject(error) : refuse()))
      .end()
  })

async function readWithOurs(
  deadlines: Deadlines,
  port: number,
  path: string,
  method: string,
): Promise<Reading> {
  const upstreams = openUpstreams({ connectTimeoutMs: 20_000 }, deadlines)
  const asked = sendBy(upstreams, `http://127.0.0.1:${port}`, {
    path,
    method,
    firstByteMs: 20_000,
    idleMs: 20_000,
  })
  const { error, status, reason, headers = [], trailers = [], informed, text } = await asked.done
  upstreams.close()
  if (error) return { refused: true }
  const infos = informed.map((each) => each.status)
  return { refused: false, status, reason, headers, trailers, informed: infos, body: text }
}

/** Both readings of each case, and what there is to say about those that differ. */
async function compare(t: Owner, cases: readonly Case[]) {
  const port = await serve(t, cases)
  const deadlines = new Deadlines()
  const counts = { same: 0, refused: 0, stricter: 0 }
  const wrong: string[] = []
  const one = async ({ method, pieces }: Case, index: number): Promise<void> => {
    const path = `/${index}`
    const [node, ours] = await Promise.all([
      readWithNode(port, path, method),
      readWithOurs(deadlines, port, path, method),
    ])
    if (node.refused && ours.refused) counts.refused += 1
    else if (ours.refused) counts.stricter += 1
    else if (node.refused && NODE_ALONE.some(({ is }) => is(pieces.join('')))) counts.stricter += 1
    else if (JSON.stringify(node) === JSON.stringify(ours)) counts.same += 1
    else wrong.push(JSON.stringify({ method, pieces, node, ours }))
  }
  const waiting = cases.map((each, index) => [each, index] as const)
  const work = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) await one(...next)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return { counts, wrong }
}

const places = (answer: string) => Array.from(answer, (_, at) => at)

t.test('an answer is read as Node reads it, wherever its bytes break', async (t) => {
  const cases = ANSWERS.flatMap(([method, answer]) =>
    places(answer).map((at) => ({ method, pieces: [answer.slice(0, at), answer.slice(at)] })),
  )
  const { counts, wrong } = await compare(t, cases)
  t.same(wrong.slice(0, 5), [])
  t.match(counts, { refused: 0 })
  t.comment(counts)
})

t.test('an answer that is cut off is refused where Node refuses it, at every byte', async (t) => {
  const cases = ANSWERS.flatMap(([method, answer]) =>
    places(answer).map((at) => ({ method, pieces: [answer.slice(0, at)] })),
  )
  const { counts, wrong } = await compare(t, cases)
  t.same(wrong.slice(0, 5), [])
  t.equal(counts.stricter, 0)
  t.comment(counts)
})

t.test('an answer with a wrong byte anywhere is read as Node reads it, or refused', async (t) => {
  const cases = ANSWERS.flatMap(([method, answer]) =>
    places(answer).flatMap((at) =>
      HOSTILE.map((byte) => ({ method, pieces: [answer.slice(0, at) + byte + answer.slice(at + 1)] })),
    ),
  )
  const { counts, wrong } = await compare(t, cases)
  t.same(wrong.slice(0, 5), [])
  t.comment(counts)
})
