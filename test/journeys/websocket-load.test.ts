import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'ws'
import { startEcho } from '../support/echo.ts'
import { startGateway } from '../support/gateway.ts'
import { frame, openRaw } from '../support/raw-socket.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'
import { readQueues } from '../support/tcp-queues.ts'
import type { Owner } from '../support/waiting.ts'

const MIB = 1024 * 1024
const READERS = 10
const NO_LIMIT = {
  WS_SOCKETS_PER_TOKEN: '1000',
  UNAUTHENTICATED_PER_MINUTE: '1000000',
  SERVICE_REQUESTS_PER_MINUTE: '1000000',
}
/** Far above what the kernel keeps for a connection: whoever takes this much holds it in memory. */
const MOST_BYTES = 64 * MIB

/** Writes frames until the other side takes no more; counts what the kernel took. */
const pushAll = (sockets: readonly Socket[], isMasked: boolean) => {
  const bytes = frame({ opcode: 2, payload: Buffer.alloc(16 * 1024), masked: isMasked })
  let taken = 0
  for (const socket of sockets) {
    let own = 0
    const push = (): void => {
      if (own >= MOST_BYTES || socket.destroyed) return
      socket.write(bytes, () => {
        own += bytes.length
        taken += bytes.length
        push()
      })
    }
    push()
  }
  return () => taken
}

/** Nobody tells that a sender waits: it does when nothing was taken in four looks. */
const untilStill = async (read: () => number): Promise<void> => {
  for (let looks = 0, last = -1; looks < 4; looks += 1) {
    if (read() !== last) looks = 0
    last = read()
    await pause(250)
  }
}

async function openPairs(t: Owner) {
  const upstream = await startRawUpstream(t)
  const gateway = await startGateway(t, {
    env: { WS_ROUTES: `/ws=ws://127.0.0.1:${upstream.port}/ws!open`, ...NO_LIMIT },
  })
  const clients: Socket[] = []
  const services: Socket[] = []
  for (let index = 0; index < READERS; index += 1) {
    const client = openRaw(t, { port: gateway.port, path: `/ws/${index}` })
    await client.opened
    clients.push(client.socket)
    services.push(await upstream.socketOf(`/ws/${index}`))
  }
  return { upstream, gateway, clients, services }
}

for (const direction of ['clients', 'services'] as const) {
  t.test(`${direction} that stop reading cost less than 1 MiB each`, async (t) => {
    const { upstream, gateway, clients, services } = await openPairs(t)
    const isDown = direction === 'clients'
    for (const socket of isDown ? clients : services) socket.pause()
    const taken = pushAll(isDown ? services : clients, !isDown)
    await untilStill(taken)
    const [front, back] = [readQueues(gateway.port), readQueues(upstream.port)]
    const inKernel = isDown ? front.fromServer + back.fromServer : front.toServer + back.toServer
    const held = (taken() - inKernel) / READERS
    t.ok(taken() < READERS * MOST_BYTES, `the senders were held back after ${Math.round(taken() / MIB)} MiB`)
    t.ok(inKernel > 0 && held < MIB, `${Math.round(held / 1024)} KiB in the gateway for each`)
    for (const socket of isDown ? clients : services) socket.resume()
    // Those that read again let the senders go on.
    const before = taken()
    while (taken() === before) await pause(20)
  })
}

const rssOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024

const openWs = (t: Owner, url: string): Promise<WebSocket> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace(/^http/, 'ws'))
    t.teardown(() => socket.terminate())
    socket.once('open', () => resolve(socket))
    socket.on('error', reject)
  })

t.test('500 sockets are open at once and all answer', async (t) => {
  const echo = await startEcho(t)
  const gateway = await startGateway(t, {
    env: { WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws!open`, ...NO_LIMIT },
  })
  const openMany = (count: number) =>
    Promise.all(Array.from({ length: count }, () => openWs(t, `${gateway.url}/ws`)))
  for (const socket of await openMany(50)) socket.terminate()
  const before = rssOf(gateway.pid)
  const sockets: WebSocket[] = []
  for (let wave = 0; wave < 10; wave += 1) sockets.push(...(await openMany(50)))
  t.comment(`${Math.round((rssOf(gateway.pid) - before) / 500 / 1024)} KiB for each idle socket`)
  const answers = await Promise.all(
    sockets.map(
      (socket, index) =>
        new Promise<boolean>((resolve) => {
          socket.once('message', (raw) => resolve(String(raw) === `hello ${index}`))
          socket.send(`hello ${index}`)
        }),
    ),
  )
  t.equal(answers.filter(Boolean).length, 500)
})
