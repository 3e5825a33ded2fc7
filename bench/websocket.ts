import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type Candidate, gatewayCandidate, nginxCandidate, relayCandidate } from './candidates.ts'
import { endChild, OTHER_CORE, startPinned } from './children.ts'
import type { SocketJob } from './load-websocket.ts'
import { cpuUs, median, memoryBytes } from './measure.ts'

const CONNECTIONS = 20
const IN_FLIGHT = 8
const IDLE_SOCKETS = 500

interface Variant {
  name: string
  candidate: Candidate
  path: string
}

interface Seen {
  cpuUs: number
  perSecond: number
  idleKb: number
}

async function startLoad(): Promise<{ load: ChildProcess; port: number }> {
  const args = [join(import.meta.dirname, 'load-websocket.ts')]
  const load = startPinned({ core: OTHER_CORE, command: process.execPath, args, ipc: true })
  const [{ port }] = await once(load, 'message')
  return { load, port }
}

async function count(load: ChildProcess): Promise<number> {
  load.send('count')
  const [{ completed }] = await once(load, 'message')
  return completed
}

async function measure({ candidate, path }: Variant, load: ChildProcess, windowMs: number): Promise<Seen> {
  const running = await candidate.start()
  const job: SocketJob = {
    url: `ws://127.0.0.1:${running.port}${path}`,
    headers: candidate.headers,
    connections: CONNECTIONS,
    inFlight: 0,
  }
  const run = async (part: Partial<SocketJob>): Promise<void> => {
    load.send({ ...job, ...part })
    await once(load, 'message')
  }
  try {
    await run({})
    const bytes = memoryBytes(running.pid)
    await run({ connections: IDLE_SOCKETS })
    const idleKb = (memoryBytes(running.pid) - bytes) / IDLE_SOCKETS / 1024
    await run({ inFlight: IN_FLIGHT })
    await setTimeout(windowMs)
    const [from, fromUs, fromMs] = [await count(load), cpuUs(running.pid), performance.now()]
    await setTimeout(windowMs)
    const messages = (await count(load)) - from
    const ms = performance.now() - fromMs
    return { cpuUs: (cpuUs(running.pid) - fromUs) / messages, perSecond: (messages / ms) * 1000, idleKb }
  } finally {
    await running.stop()
  }
}

/** Echo round trips through a TCP relay, nginx and the gateway's two kinds of socket. */
export async function runWebsocket(
  rounds: number,
  windowMs: number,
  checkout: string | undefined,
): Promise<string[]> {
  const first = await startLoad()
  const gateway = await gatewayCandidate(first.port)
  const nginx = nginxCandidate(first.port)
  const before = checkout === undefined ? undefined : await gatewayCandidate(first.port, { checkout })
  const variants: Variant[] = [
    { name: 'TCP relay', candidate: relayCandidate(first.port), path: '/ws' },
    ...(nginx ? [{ name: 'nginx', candidate: nginx, path: '/ws' }] : []),
    { name: 'gateway, service', candidate: gateway, path: '/ws' },
    { name: 'gateway, realtime', candidate: gateway, path: '/v1/realtime?model=bench' },
    ...(before
      ? [
          { name: 'before, service', candidate: before, path: '/ws' },
          { name: 'before, realtime', candidate: before, path: '/v1/realtime?model=bench' },
        ]
      : []),
  ]
  const seen = new Map<string, Seen[]>(variants.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round += 1) {
    for (const variant of round % 2 === 0 ? variants : variants.toReversed()) {
      console.error(`websocket: round ${round + 1} of ${rounds}, ${variant.name}`)
      seen.get(variant.name)?.push(await measure(variant, first.load, windowMs))
    }
  }
  for (const { candidate } of variants) candidate.close()
  await endChild(first.load)
  return table(seen)
}

function table(seen: ReadonlyMap<string, Seen[]>): string[] {
  const middle = (all: readonly Seen[], of: (each: Seen) => number) => median(all.map(of))
  const relay = middle(seen.get('TCP relay') ?? [], ({ cpuUs }) => cpuUs)
  return [
    '',
    `## WebSocket, 128-byte echo, ${CONNECTIONS} sockets x ${IN_FLIGHT} in flight`,
    '| candidate | CPU µs / message | x relay | messages/s | kB / idle socket |',
    '| --- | --- | --- | --- | --- |',
    ...[...seen].map(([name, all]) => {
      const us = middle(all, ({ cpuUs }) => cpuUs)
      const perSecond = Math.round(middle(all, (each) => each.perSecond))
      const idle = middle(all, ({ idleKb }) => idleKb).toFixed(1)
      return `| ${name} | ${us.toFixed(1)} | ${(us / relay).toFixed(2)} x | ${perSecond} | ${idle} |`
    }),
  ]
}
