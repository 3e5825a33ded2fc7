import { once } from 'node:events'
import { connect as connectPlain, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import { bareEnv, startProcess } from '../../support/process.ts'
import type { Owner } from '../../support/waiting.ts'
import type { CrowdOptions, CrowdReport } from './crowd.ts'
import { EDGE_ADDRESS } from './engine.ts'
import { output, poll, run } from './shell.ts'

const SPACE = 'gateway-edge-test'
/** The hostile client's address, and this machine's on the wire between the two. */
export const HOSTILE_ADDRESS = '198.18.7.2'
const NEAR_ADDRESS = '198.18.7.1'
/** Each a process: one may have no more descriptors than many machines allow. */
const CROWDS = 4

/** A machine of its own as far as the edge can tell: one address, in a network namespace. */
export async function openHostileSpace(t: Owner): Promise<void> {
  await run('ip', ['netns', 'delete', SPACE])
  const lines = [
    `netns add ${SPACE}`,
    `link add gwhostile type veth peer name eth0 netns ${SPACE}`,
    `address add ${NEAR_ADDRESS}/30 dev gwhostile`,
    'link set gwhostile up',
    `-n ${SPACE} address add ${HOSTILE_ADDRESS}/30 dev eth0`,
    `-n ${SPACE} link set eth0 up`,
    `-n ${SPACE} route add default via ${NEAR_ADDRESS}`,
  ]
  for (const line of lines) await output('ip', line.split(' '))
  t.teardown(() => run('ip', ['netns', 'delete', SPACE]))
}

/** A crowd of stalled connections of one address. */
export interface Crowd {
  /** The sum of what its processes said last. */
  report(): CrowdReport
  end(): Promise<void>
}

export async function startCrowd(t: Owner, name: string, count: number): Promise<Crowd> {
  const hello = (await readHello(name)).toString('base64')
  const options: CrowdOptions = {
    host: EDGE_ADDRESS,
    name,
    hello,
    count: count / CROWDS,
    againPerSecond: 100,
  }
  const program = [process.execPath, join(import.meta.dirname, 'crowd.ts'), JSON.stringify(options)]
  const all = Array.from({ length: CROWDS }, () =>
    startProcess(t, {
      command: 'ip',
      args: ['netns', 'exec', SPACE, ...program],
      env: bareEnv(),
      cwd: '/',
    }),
  )
  const last = (text: string): CrowdReport =>
    JSON.parse(text.trimEnd().split('\n').at(-1) || '{"open":0,"opened":0}')
  const report = () => {
    const reports = all.map(({ stdout }) => last(stdout()))
    const sum = (field: keyof CrowdReport) => reports.reduce((total, one) => total + one[field], 0)
    return { open: sum('open'), opened: sum('opened') }
  }
  await poll(`${count} connections to be tried`, async () => report().opened >= count || undefined)
  return {
    report,
    async end() {
      for (const { child } of all) child.kill('SIGKILL')
      await Promise.all(all.map(({ exited }) => exited))
    },
  }
}

interface Holding {
  host: string
  port: number
  localAddress: string
  count: number
}

/** Opens so many silent connections, and says how many were left open. */
export async function holdConnections(t: Owner, { count, ...where }: Holding): Promise<number> {
  const all = Array.from({ length: count }, () => connectPlain(where).on('error', () => undefined))
  t.teardown(() => {
    for (const socket of all) socket.destroy()
  })
  const settled = (socket: Socket) => new Promise((done) => socket.once('connect', done).once('close', done))
  await Promise.all(all.map(settled))
  // A refusal follows the connection at once, where nothing else is to be said.
  await sleep(1000)
  return all.filter(({ readyState }) => readyState === 'open').length
}

/** The first bytes of a TLS client that asks for this name. */
export async function readHello(servername: string): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not listening')
  const client = connect({ port: address.port, host: '127.0.0.1', servername })
  client.on('error', () => undefined)
  const [socket] = (await once(server, 'connection')) as [Socket]
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  client.destroy()
  socket.destroy()
  server.close()
  return bytes
}
