// Which files of src/ run code during one warm request of the real gateway, told by V8's own coverage.
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startArguments } from './candidates.ts'
import { endChild, freePort, OTHER_CORE, startPinned } from './children.ts'
import { prepareGateway } from './prepare-gateway.ts'

/** What is asked of the provider in `upstream.ts`. */
export const EXECUTED_KINDS = { plain: 'bench', stream: 'sse-50-0ms' } as const
export type ExecutedKind = keyof typeof EXECUTED_KINDS

export interface ExecutedFile {
  /** Below `src/`, with slashes. */
  path: string
  functions: number
  calls: number
}

/** As `Profiler.takePreciseCoverage` answers. */
interface Coverage {
  result: {
    url: string
    functions: { functionName: string; ranges: { startOffset: number; count: number }[] }[]
  }[]
}

const SOURCES = join(import.meta.dirname, '..', 'src')
const WARM_REQUESTS = 300
/** The usage row and the log line are written after the answer. */
const AFTERMATH_MS = 300
const START_MS = 20_000

/** Starts the gateway before a provider of its own, warms it, and watches one request of each kind. */
export async function watchExecutedFiles(): Promise<Record<ExecutedKind, ExecutedFile[]>> {
  const args = [join(import.meta.dirname, 'upstream.ts')]
  const upstream = startPinned({ core: OTHER_CORE, command: process.execPath, args, ipc: true })
  try {
    const [{ port: upstreamPort }] = await once(upstream, 'message')
    return await watchGateway(upstreamPort)
  } finally {
    await endChild(upstream)
  }
}

async function watchGateway(upstreamPort: number): Promise<Record<ExecutedKind, ExecutedFile[]>> {
  const { env, cwd, secret } = await prepareGateway(upstreamPort)
  const [port, inspectPort] = [await freePort(), await freePort()]
  const root = join(SOURCES, '..')
  const gateway = startPinned({
    core: OTHER_CORE,
    command: process.execPath,
    args: [`--inspect=127.0.0.1:${inspectPort}`, ...startArguments(root)],
    env: { ...env, PORT: String(port) },
    cwd,
  })
  // Unread, a full pipe would stop the gateway.
  gateway.stderr?.resume()
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  try {
    const profiler = await attach(inspectPort)
    await untilListening(port)
    const send = (kind: ExecutedKind) => ask({ port, agent, secret, model: EXECUTED_KINDS[kind] })
    const plain = await watchOne(profiler, () => send('plain'))
    const stream = await watchOne(profiler, () => send('stream'))
    profiler.close()
    return { plain, stream }
  } finally {
    agent.destroy()
    await endChild(gateway)
    rmSync(cwd, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function watchOne(profiler: Profiler, send: () => Promise<void>): Promise<ExecutedFile[]> {
  for (let sent = 0; sent < WARM_REQUESTS; sent += 1) await send()
  await sleep(AFTERMATH_MS)
  // Taking the counts also sets them back.
  await profiler.take()
  await send()
  await sleep(AFTERMATH_MS)
  return readCoverage(await profiler.take())
}

function readCoverage({ result }: Coverage): ExecutedFile[] {
  return result
    .filter(({ url }) => url.startsWith('file:'))
    .map(({ url, functions }) => {
      const path = relative(SOURCES, fileURLToPath(url)).replaceAll('\\', '/')
      const counts = functions.map(({ ranges }) => ranges[0]?.count ?? 0).filter((count) => count > 0)
      return { path, functions: counts.length, calls: counts.reduce((sum, count) => sum + count, 0) }
    })
    .filter(({ path, calls }) => calls > 0 && !path.startsWith('..'))
    .toSorted((one, other) => (one.path < other.path ? -1 : 1))
}

/** One request over the one kept connection, read to its end. */
function ask({ port, agent, secret, model }: { port: number; agent: Agent; secret: string; model: string }) {
  const isStream = model !== EXECUTED_KINDS.plain
  const body = JSON.stringify({
    model,
    messages: [{ role: 'user', content: 'lorem ipsum '.repeat(30) }],
    ...(isStream ? { stream: true } : {}),
    max_tokens: 100,
  })
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
  return new Promise<void>((resolve, reject) => {
    const options = { port, host: '127.0.0.1', path: '/v1/chat/completions', method: 'POST', headers, agent }
    request(options, (response) => {
      if (response.statusCode !== 200) reject(new Error(`the gateway answered ${response.statusCode}`))
      response.resume().once('end', resolve).once('error', reject)
    })
      .once('error', reject)
      .end(body)
  })
}

interface Profiler {
  take(): Promise<Coverage>
  close(): void
}

/** Speaks to the inspector of the process that listens there. */
async function attach(port: number): Promise<Profiler> {
  const socket = new WebSocket(await findDebugger(port))
  await once(socket, 'open')
  const waiting = new Map<number, (result: Coverage) => void>()
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = JSON.parse(String(data))
    waiting.get(id)?.(result)
    waiting.delete(id)
  })
  let last = 0
  const call = (method: string, params = {}): Promise<Coverage> => {
    const id = ++last
    socket.send(JSON.stringify({ id, method, params }))
    return new Promise((resolve) => waiting.set(id, resolve))
  }
  await call('Profiler.enable')
  await call('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
  return { take: () => call('Profiler.takePreciseCoverage'), close: () => socket.close() }
}

async function findDebugger(port: number): Promise<string> {
  const answer = await fetchPatiently(`http://127.0.0.1:${port}/json/list`)
  const [target] = (await answer.json()) as { webSocketDebuggerUrl: string }[]
  if (target) return target.webSocketDebuggerUrl
  throw new Error('the gateway cannot be inspected')
}

async function untilListening(port: number): Promise<void> {
  const answer = await fetchPatiently(`http://127.0.0.1:${port}/health`)
  await answer.body?.cancel()
}

/** Asks again while nobody listens there yet. */
async function fetchPatiently(url: string): Promise<Response> {
  const until = performance.now() + START_MS
  for (;;) {
    try {
      return await fetch(url)
    } catch (cause) {
      if (performance.now() > until) throw new Error(`nobody listens at ${url}`, { cause })
      await sleep(20)
    }
  }
}
