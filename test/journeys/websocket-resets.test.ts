import t from 'tap'
import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { readRows } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { frame, handshakeText, openRaw } from '../support/raw-socket.ts'
import { type HandshakeMode, type RawUpstream, startRawUpstream } from '../support/raw-upstream.ts'
import type { Owner } from '../support/waiting.ts'

const TIMES = 100
const AT_ONCE = 20

async function scene(t: Owner) {
  const upstream = await startRawUpstream(t)
  const path = modelsFile(t, {
    providers: { main: `http://127.0.0.1:${upstream.port}/v1` },
    models: { m: { plan: [{ provider: 'main' }], maxOutput: 10 } },
  })
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: {
      ...providerKeys('main'),
      RATE_LIMIT_PER_MINUTE: '1000000',
      WS_SOCKETS_PER_TOKEN: '1000',
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

type Phase = (client: ReturnType<typeof openRaw>, upstream: RawUpstream) => Promise<void>

/** Where a client's connection breaks; the upstream hangs or opens. */
const CLIENT_PHASES: Record<string, [HandshakeMode, Phase]> = {
  'while its token is checked': ['open', async ({ socket }) => void (await written(socket))],
  'while the provider is asked': [
    'hang',
    async (_client, upstream) => {
      const seen = upstream.handshakes()
      await upstream.until('a handshake', () => (upstream.handshakes() > seen - 1 ? true : undefined), 20_000)
    },
  ],
  'right after the 101': ['open', async ({ opened }) => void (await opened)],
  'inside a head': [
    'open',
    async ({ opened, socket }) => {
      await opened
      socket.write(frame({ payload: 'x'.repeat(300) }).subarray(0, 3))
      await written(socket)
    },
  ],
  'inside a frame': [
    'open',
    async ({ opened, socket }) => {
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
  for (const [name, [mode, phase]] of Object.entries(CLIENT_PHASES)) {
    upstream.mode = mode
    await times(async () => {
      const client = openRaw(t, { port: gateway.port, path: '/v1/realtime?model=m', headers })
      await phase(client, upstream)
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
  t.ok(readRows(gateway).length > 0)
  t.notOk(gateway.lines().some(({ level }) => level === 'fatal'))
})

const UPSTREAM_PHASES: [HandshakeMode, number][] = [
  ['reset', 502],
  ['reset in the head', 502],
  ['garbage', 502],
  ['wrong key', 502],
  ['unasked extension', 502],
  ['unasked protocol', 502],
  ['redirect', 502],
  ['reset after the head', 101],
  ['reset in a frame', 101],
]

t.test('an upstream that is cut off in any phase ends in an answer or a closed socket', async (t) => {
  const { upstream, gateway } = await scene(t)
  for (const [mode, status] of UPSTREAM_PHASES) {
    upstream.mode = mode
    const seen = new Set<string>()
    await times(async () => {
      const client = openRaw(t, { port: gateway.port, path: '/ws' })
      seen.add((await client.opened).slice(0, 12))
      await client.closed
    })
    // A reset can be faster than the gateway's own 101.
    seen.delete(status === 101 ? 'HTTP/1.1 502' : '')
    if (status === 101) seen.delete('')
    t.ok(
      [...seen].every((head) => head === `HTTP/1.1 ${status}`),
      `${mode}: ${[...seen]}`,
    )
    t.ok(await lives(gateway), mode)
  }
  t.notOk(gateway.lines().some(({ level }) => level === 'fatal'))
})
