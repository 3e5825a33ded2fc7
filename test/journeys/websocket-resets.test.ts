import t from 'tap'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { frame, handshakeText, openRaw, type RawClient } from '../support/raw-socket.ts'
import { type HandshakeMode, type RawUpstream, startRawUpstream } from '../support/raw-upstream.ts'
import type { Owner } from '../support/waiting.ts'

const TIMES = 100
const AT_ONCE = 20

async function scene(t: Owner) {
  const upstream = await startRawUpstream(t)
  const path = modelsFile(t, {
    providers: { main: `http://127.0.0.1:${upstream.port}/v1` },
    // Under any name, so that every handshake upstream has one of its own.
    models: { '*': { plan: [{ provider: 'main' }], maxOutput: 10 } },
  })
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: {
      ...providerKeys('main'),
      RATE_LIMIT_PER_MINUTE: '1000000',
      WS_SOCKETS_PER_TOKEN: '1000',
      UNAUTHENTICATED_PER_MINUTE: '1000000',
      SERVICE_REQUESTS_PER_MINUTE: '1000000',
      WS_ROUTES: `/ws=ws://127.0.0.1:${upstream.port}/ws!open`,
    },
  })
  const token = await mintToken(t, gateway)
  return { upstream, gateway, token }
}

const times = async (each: (index: number) => Promise<void>): Promise<void> => {
  for (let index = 0; index < TIMES; index += AT_ONCE)
    await Promise.all(Array.from({ length: AT_ONCE }, (_, add) => each(index + add)))
}

const lives = async ({ url }: TestGateway): Promise<boolean> => (await fetch(`${url}/health`)).status === 200

/** One client: the path of its handshake upstream, and whether it saw the end of its socket. */
interface Case {
  client: RawClient
  upstream: RawUpstream
  upstreamPath: string
}

type Phase = (one: Case) => Promise<void>

/** Where a client's connection breaks; the upstream hangs or opens. */
const CLIENT_PHASES: Record<string, [HandshakeMode, Phase]> = {
  'while its token is checked': ['open', async ({ client }) => void (await written(client.socket))],
  'while the provider is asked': [
    'hang',
    async ({ upstream, upstreamPath }) => void (await upstream.socketOf(upstreamPath)),
  ],
  'right after the 101': ['open', async ({ client }) => void (await client.opened)],
  'inside a head': [
    'open',
    async ({ client: { opened, socket } }) => {
      await opened
      socket.write(frame({ payload: 'x'.repeat(300) }).subarray(0, 3))
      await written(socket)
    },
  ],
  'inside a frame': [
    'open',
    async ({ client: { opened, socket } }) => {
      await opened
      socket.write(frame({ payload: 'x'.repeat(300) }).subarray(0, 100))
      await written(socket)
    },
  ],
}

const written = (socket: { write(text: string, done: () => void): unknown }): Promise<void> =>
  new Promise((resolve) => socket.write('', resolve))

t.test('a client that is cut off in any phase harms nobody and keeps nothing held', async (t) => {
  const { upstream, gateway, token } = await scene(t)
  const headers = { authorization: `Bearer ${token}` }
  for (const [phaseIndex, [name, [mode, phase]]] of Object.entries(CLIENT_PHASES).entries()) {
    upstream.mode = mode
    await times(async (index) => {
      const path = `/v1/realtime?model=m-${phaseIndex}-${index}`
      const client = openRaw(t, { port: gateway.port, path, headers })
      await phase({ client, upstream, upstreamPath: path })
      client.socket.resetAndDestroy()
      await client.closed
    })
    t.ok(await lives(gateway), name)
    await upstream.until(
      'no socket to be left',
      () => (upstream.sockets.size === 0 ? true : undefined),
      20_000,
    )
  }
  const half = openRaw(t, { port: gateway.port, path: '/ws' })
  half.socket.resetAndDestroy()
  await times(async () => {
    const { connect } = await import('node:net')
    const socket = connect(gateway.port, '127.0.0.1')
    socket.on('error', () => {})
    await new Promise<void>((resolve) => {
      socket.write(handshakeText({ path: '/ws' }).slice(0, 60), () => resolve())
    })
    socket.resetAndDestroy()
  })
  t.ok(await lives(gateway), 'inside the handshake')
  const answered = await fetch(`${gateway.url}/v1/token`, { headers })
  const { credits } = (await answered.json()) as {
    credits: { held: number; balance: number; charged: number }
  }
  t.match(credits, { held: 0, charged: 0, balance: 1_000_000 })
  await waitUntil(
    () => readRows(gateway).length,
    (count) => count > 0,
  )
  t.notOk(gateway.lines().some(({ level }) => level === 'fatal'))
})

/** What the client may see; a reset that overtakes the upstream's own 101 in the kernel is one before it. */
const UPSTREAM_PHASES: [HandshakeMode, RegExp][] = [
  ['reset', /^HTTP\/1.1 502/],
  ['reset in the head', /^HTTP\/1.1 502/],
  ['garbage', /^HTTP\/1.1 502/],
  ['wrong key', /^HTTP\/1.1 502/],
  ['unasked extension', /^HTTP\/1.1 502/],
  ['unasked protocol', /^HTTP\/1.1 502/],
  ['redirect', /^HTTP\/1.1 502/],
  ['reset after the head', /^HTTP\/1.1 (101|502)/],
  ['reset in a frame', /^HTTP\/1.1 (101|502)/],
]

t.test('an upstream that is cut off in any phase ends in an answer or a closed socket', async (t) => {
  const { upstream, gateway } = await scene(t)
  for (const [mode, expected] of UPSTREAM_PHASES) {
    upstream.mode = mode
    const heads: string[] = []
    await times(async () => {
      const client = openRaw(t, { port: gateway.port, path: '/ws' })
      heads.push((await client.opened).slice(0, 12))
      await client.closed
    })
    t.same(
      heads.filter((head) => !expected.test(head)),
      [],
      mode,
    )
    t.ok(await lives(gateway), mode)
  }
  t.notOk(gateway.lines().some(({ level }) => level === 'fatal'))
})

const close = (code: number, reason: string): Buffer => {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason))
  payload.writeUInt16BE(code)
  payload.write(reason, 2)
  return payload
}

/** What an upstream has sent when its connection breaks, once the client has its 101. */
const LAST_WORDS: Record<string, string> = {
  'between frames': '\x81\x05hello',
  'inside a head': '\x81',
  'inside a frame': `\x81\x64${'x'.repeat(10)}`,
}

const hungUp = close(1011, 'the service hung up')

t.test(
  'a service that is cut off after the 101 ends the socket with 1011, and makes up nothing',
  async (t) => {
    const { upstream, gateway } = await scene(t)
    for (const [name, words] of Object.entries(LAST_WORDS)) {
      let shown = 0
      await times(async (index) => {
        const path = `/ws/${encodeURIComponent(name)}-${index}`
        const client = openRaw(t, { port: gateway.port, path })
        const head = await client.opened
        if (head.startsWith('HTTP/1.1 101')) shown += 1
        const socket = await upstream.socketOf(path)
        await new Promise<void>((resolve) => socket.write(words, 'latin1', () => resolve()))
        socket.resetAndDestroy()
        await client.closed
        const frames = client.frames()
        const last = frames.at(-1)
        // Inside of a frame there is no place for a frame of the gateway's own.
        const isTold = last?.opcode === 8 && last.payload.equals(hungUp)
        if (head.startsWith('HTTP/1.1 101') && isTold === (name === 'inside a frame'))
          t.fail(`${name}: ${isTold ? 'a close frame inside of a frame' : 'no close frame'}`)
        const odd = (isTold ? frames.slice(0, -1) : frames).filter(
          ({ payload }) => String(payload) !== 'hello',
        )
        if (odd.length > 0) t.fail(`${name}: ${odd.map(({ opcode }) => opcode)}`)
      })
      t.equal(shown, TIMES, `${name}: every client had its 101, and saw the end`)
      t.ok(await lives(gateway), name)
    }
    await upstream.until(
      'no socket to be left',
      () => (upstream.sockets.size === 0 ? true : undefined),
      20_000,
    )
    t.notOk(gateway.lines().some(({ level }) => level === 'fatal'))
  },
)
