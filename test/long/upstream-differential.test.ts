import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { Deadlines } from '../../src/deadlines.ts'
import { openUpstreams, type Upstreams } from '../../src/upstream/upstreams.ts'
import { createRandom, makeAnswer, type OddAnswer, type Oddity } from '../support/odd-answers.ts'

const CASES = Number(process.env.DIFFERENTIAL_CASES ?? 20_000)
const SEED = Number(process.env.DIFFERENTIAL_SEED ?? 1)
const AT_ONCE = 32

/** What a reader made of an answer; refused: it said that something is wrong with it. */
interface Reading {
  refused: boolean
  status: number
  body: string
}

/**
 * Where the two readers may differ, and by which rule. `ours` refuses what Node accepts, or Node refuses what `ours` accepts;
 * what both accept they read the same, whatever is odd about it.
 */
const DIFFERENCES: readonly { odd: Oddity; and?: Oddity; stricter: 'ours' | 'node'; why: string }[] = [
  {
    odd: 'odd status',
    stricter: 'ours',
    why: 'RFC 9110 section 15: a status is from 100 to 599; 099 and 600 are none',
  },
  {
    odd: 'odd version',
    stricter: 'ours',
    why: 'RFC 9112 section 2.3: HTTP/2.0 and HTTP/0.9 are no HTTP/1.x on the wire',
  },
  {
    odd: 'other coding',
    stricter: 'ours',
    why: 'RFC 9112 section 6.1: no coding but chunked was asked for (no TE was sent)',
  },
  { odd: 'switching', stricter: 'ours', why: 'RFC 9110 section 15.2.2: nobody asked for another protocol' },
  {
    odd: 'surplus',
    stricter: 'node',
    why: 'RFC 9112 section 6.3: the answer is whole; the connection is not used again',
  },
  {
    odd: 'odd extension',
    stricter: 'node',
    why: 'RFC 9112 section 7.1.1: unknown extensions are passed over, up to 1 KiB',
  },
  {
    odd: 'odd trailer',
    stricter: 'node',
    why: 'RFC 9112 section 7.1.2: trailers may be thrown away; none is read',
  },
  {
    odd: 'length and chunked',
    and: 'bodiless',
    stricter: 'node',
    why: 'RFC 9112 section 6.3, rule 1: 204 and 304 end with their head',
  },
  {
    odd: 'length no number',
    and: 'bodiless',
    stricter: 'node',
    why: 'RFC 9112 section 6.3, rule 1: of 204 and 304 no length is read, however wrong it is',
  },
  {
    odd: 'two lengths',
    and: 'bodiless',
    stricter: 'node',
    why: 'RFC 9112 section 6.3, rule 1: of 204 and 304 no length is read, however many there are',
  },
]

const REFUSED: Reading = { refused: true, status: 0, body: '' }

async function serve(answers: ReadonlyMap<string, OddAnswer>) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    let head = ''
    socket.on('data', (bytes) => {
      head += bytes.toString('latin1')
      const path = /^POST \/(\d+) .*\r\n\r\n/s.exec(head)?.[1]
      if (path === undefined) return
      head = ''
      const answer = answers.get(path)
      if (answer) void send(socket, answer)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = () => {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
  return { port, close }
}

/** The answer in its pieces, and then the end of the connection, which some bodies end with. */
async function send(socket: Socket, { bytes, breaks }: OddAnswer): Promise<void> {
  let from = 0
  for (const at of [...breaks, bytes.length]) {
    if (at > from) {
      socket.write(bytes.subarray(from, at))
      await setImmediate()
    }
    from = at
  }
  socket.end()
}

const readWithNode = (port: number, path: string): Promise<Reading> =>
  new Promise((resolve) => {
    const refuse = () => resolve(REFUSED)
    const read = (message: IncomingMessage) => {
      let body = ''
      message.setEncoding('latin1')
      message.on('data', (piece) => {
        body += piece
      })
      message.on('error', refuse).on('aborted', refuse)
      message.on('end', () => resolve({ refused: !message.complete, status: message.statusCode ?? 0, body }))
    }
    request({ host: '127.0.0.1', port, path: `/${path}`, method: 'POST', agent: false }, read)
      .on('upgrade', (_message, socket) => {
        socket.destroy()
        refuse()
      })
      .on('error', refuse)
      .end()
  })

/** On connections of its own: the server ends each of them, and none may carry a second request. */
async function readWithOurs(deadlines: Deadlines, port: number, path: string): Promise<Reading> {
  const upstreams = openUpstreams({ connectTimeoutMs: 20_000 }, deadlines)
  try {
    return await askOurs(upstreams, port, path)
  } finally {
    upstreams.close()
  }
}

const askOurs = (upstreams: Upstreams, port: number, path: string): Promise<Reading> =>
  new Promise((resolve) => {
    const reading: Reading = { refused: false, status: 0, body: '' }
    const call = {
      path: `/${path}`,
      headers: [],
      body: { body: Buffer.alloc(0), length: undefined },
      answerTimeoutMs: 20_000,
      idleTimeoutMs: 20_000,
    }
    upstreams.ask(`http://127.0.0.1:${port}`, call, {
      answered(status) {
        reading.status = status
        return true
      },
      data(bytes) {
        reading.body += bytes.toString('latin1')
      },
      ended: () => resolve(reading),
      failed: () => resolve(REFUSED),
    })
  })

const show = ({ bytes, odd, breaks }: OddAnswer) =>
  JSON.stringify({ odd: [...odd], breaks, bytes: bytes.toString('latin1').slice(0, 600) })

t.test(`${CASES} answers are read as Node's own parser reads them`, async (t) => {
  const random = createRandom(SEED)
  const cases = new Map(
    Array.from({ length: CASES }, (_, index) => [String(index), makeAnswer(random)] as const),
  )
  const server = await serve(cases)
  const deadlines = new Deadlines()
  t.teardown(() => server.close())
  const counts = { same: 0, refused: 0 }
  const used = new Set<(typeof DIFFERENCES)[number]>()
  const wrong: string[] = []
  const compare = async (path: string, answer: OddAnswer): Promise<void> => {
    const [node, ours] = await Promise.all([
      readWithNode(server.port, path),
      readWithOurs(deadlines, server.port, path),
    ])
    if (node.refused && ours.refused) counts.refused += 1
    else if (node.refused !== ours.refused) {
      const stricter = ours.refused ? 'ours' : 'node'
      const reasons = DIFFERENCES.filter(
        ({ odd, and = odd, stricter: by }) => by === stricter && answer.odd.has(odd) && answer.odd.has(and),
      )
      for (const reason of reasons) used.add(reason)
      if (reasons.length === 0) wrong.push(`case ${path}, ${stricter} alone refuses: ${show(answer)}`)
    } else if (node.status === ours.status && node.body === ours.body) counts.same += 1
    else
      wrong.push(
        `case ${path}: Node read ${JSON.stringify(node)}, we ${JSON.stringify(ours)}: ${show(answer)}`,
      )
  }
  const waiting = [...cases]
  const work = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) await compare(...next)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  t.comment(`seed ${SEED}: read the same ${counts.same}, refused by both ${counts.refused}`)
  t.same(wrong.slice(0, 10), [], `${wrong.length} of ${CASES} differ without a reason`)
  t.same(
    DIFFERENCES.filter((each) => !used.has(each)).map(({ why }) => why),
    [],
    'every listed difference was met',
  )
  t.ok(counts.same > CASES / 3, 'most valid answers are in it')
})
