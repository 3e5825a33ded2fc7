// `npm run bench [-- --quick] [-- --only plain,sse]`: nginx, a bare @fastify/http-proxy and this gateway, side by side.
// `-- --against ../before`: the gateway of another checkout (after its `npm ci`) too, in the same alternating rounds.
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { errorText } from '../src/errors.ts'
import type { Candidate } from './candidates.ts'
import { bareCandidate, gatewayCandidate, nginxCandidate } from './candidates.ts'
import { endAllWithProcess, endChild, OTHER_CORE, startPinned } from './children.ts'
import { SERVICE_PATH } from './prepare-gateway.ts'
import type { LoadShape } from './scenarios.ts'
import { measureLoad, measureMemory, measurePaced, measureStart } from './scenarios.ts'
import { figureTable, loadTable, pacedTable, ratioBar } from './table.ts'
import { runWebsocket } from './websocket.ts'

const LOADS: Record<string, LoadShape & { title: string; bar?: number }> = {
  plain: { title: 'Plain JSON, 500 B', model: 'bench', bytes: 500, stream: false, connections: 64, bar: 1.1 },
  '8k': { title: 'Plain JSON, 8 KB', model: 'bench', bytes: 8192, stream: false, connections: 64 },
  '200k': {
    title: 'Plain JSON, 200 KB, model renamed',
    model: 'renamed',
    bytes: 204_800,
    stream: false,
    connections: 16,
    bar: 1.3,
  },
  sse: {
    title: 'SSE, a burst of 50 events',
    model: 'sse-50-0ms',
    bytes: 500,
    stream: true,
    connections: 64,
    bar: 0.6,
  },
}
const SERVICE: LoadShape = { path: SERVICE_PATH, model: '', bytes: 0, stream: false, connections: 64 }
const OTHERS = ['service', 'services-200', 'paced', 'memory', 'start', 'websocket']

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    against: { type: 'string' },
  },
})
const checkout = flags.against === undefined ? undefined : resolve(flags.against)
if (checkout !== undefined && !existsSync(join(checkout, 'node_modules'))) {
  console.error(`--against ${flags.against}: no installed checkout is there; run "npm ci" in it`)
  process.exit(2)
}
const wanted = flags.only?.split(',') ?? [...Object.keys(LOADS), ...OTHERS]
const unknownNames = wanted.filter((name) => !(name in LOADS) && !OTHERS.includes(name))
if (unknownNames.length > 0) {
  console.error(
    `unknown: ${unknownNames.join(', ')}; there are ${[...Object.keys(LOADS), ...OTHERS].join(', ')}`,
  )
  process.exit(2)
}
const rounds = Number(flags.rounds ?? (flags.quick ? 2 : 4))
// A fresh process speeds up for tens of thousands of requests while its code is compiled; all are measured after that.
const timing = flags.quick
  ? { warmMs: 3000, warmRequests: 15_000, windowMs: 1500 }
  : { warmMs: 5000, warmRequests: 30_000, windowMs: 2500 }

/** Runs `measure` on every candidate in turn, there and back again; one that fails is named and left out. */
async function alternate<T>(
  title: string,
  candidates: readonly Candidate[],
  count: number,
  measure: (each: Candidate) => Promise<T>,
) {
  const results = new Map<string, T[]>(candidates.map(({ name }) => [name, []]))
  for (let round = 0; round < count; round += 1) {
    for (const candidate of round % 2 === 0 ? candidates : candidates.toReversed()) {
      console.error(`${title}: round ${round + 1} of ${count}, ${candidate.name}`)
      try {
        results.get(candidate.name)?.push(await measure(candidate))
      } catch (error) {
        console.error(`${title}: ${candidate.name} failed: ${errorText(error)}`)
      }
    }
  }
  return new Map([...results].filter(([, all]) => all.length > 0))
}

async function runLoads(candidates: readonly Candidate[]): Promise<string[]> {
  const lines: string[] = []
  for (const [name, { title, bar, ...shape }] of Object.entries(LOADS)) {
    if (!wanted.includes(name)) continue
    const windows = await alternate(title, candidates, rounds, (each) => measureLoad(each, shape, timing))
    lines.push(...loadTable(title, windows, bar))
  }
  return lines
}

/** A GET through a route of a service: beside a bare proxy, and in a table of 200 routes beside one of two. */
async function runServices(candidates: readonly Candidate[], upstreamPort: number): Promise<string[]> {
  const measure = (title: string, all: readonly Candidate[]) =>
    alternate(title, all, rounds, (each) => measureLoad(each, SERVICE, timing))
  const two = await gatewayCandidate(upstreamPort, { serviceCount: 2 })
  const many = { ...(await gatewayCandidate(upstreamPort, { serviceCount: 200 })), name: 'many' as const }
  const before =
    checkout === undefined ? [] : [await gatewayCandidate(upstreamPort, { serviceCount: 2, checkout })]
  const plain = candidates.filter(({ name }) => name === 'nginx' || name === 'bare')
  const lines: string[] = []
  if (wanted.includes('service')) {
    const title = 'A GET of 500 B through a route'
    lines.push(...loadTable(title, await measure(title, [...plain, two, ...before]), 0.9))
  }
  if (wanted.includes('services-200')) {
    const title = 'The same in a table of 200 routes (many), and of two'
    const windows = await measure(title, [two, many])
    lines.push(...loadTable(title, windows, undefined), ...ratioBar(windows, ['many', 'gateway'], 1.03))
  }
  for (const each of [two, many, ...before]) each.close()
  return lines
}

async function runOthers(candidates: readonly Candidate[], upstreamPort: number): Promise<string[]> {
  const nodes = candidates.filter(({ name }) => name !== 'nginx')
  const [few, seconds] = flags.quick ? [1, 3] : [3, 5]
  const lines: string[] = []
  if (wanted.includes('paced')) {
    lines.push(...pacedTable(await alternate('paced', nodes, few, (each) => measurePaced(each, seconds))))
  }
  if (wanted.includes('memory')) {
    const kb = await alternate('memory', nodes, few, async (each) => (await measureMemory(each)) / 1024)
    lines.push(...figureTable('Memory of each of 1,000 open streams', kb, { unit: 'kB', atMost: 32 }))
  }
  if (wanted.includes('start')) {
    const loaded = [
      await gatewayCandidate(upstreamPort, { tokenCount: 10_000 }),
      ...(checkout === undefined
        ? []
        : [await gatewayCandidate(upstreamPort, { tokenCount: 10_000, checkout })]),
    ]
    // How slow the machine is: the bare proxy has neither tokens nor anything else to read.
    const bare = candidates.filter(({ name }) => name === 'bare')
    const ms = await alternate('start', [...bare, ...loaded], few + 2, measureStart)
    lines.push(
      ...figureTable('Start to first answer, 10,000 tokens on disk', ms, { unit: 'ms', atMost: 500 }),
    )
    for (const each of loaded) each.close()
  }
  if (wanted.includes('websocket'))
    lines.push(...(await runWebsocket(flags.quick ? 1 : 3, timing.windowMs, checkout)))
  return lines
}

endAllWithProcess()
const upstream = startPinned({
  core: OTHER_CORE,
  command: process.execPath,
  args: [join(import.meta.dirname, 'upstream.ts')],
  ipc: true,
})
const [{ port: upstreamPort }] = await once(upstream, 'message')
const nginx = nginxCandidate(upstreamPort)
if (!nginx) console.error('nginx is not installed: its rows are left out')
const candidates = [
  ...(nginx ? [nginx] : []),
  bareCandidate(upstreamPort),
  await gatewayCandidate(upstreamPort),
  ...(checkout === undefined ? [] : [await gatewayCandidate(upstreamPort, { checkout })]),
]
process.on('exit', () => {
  for (const candidate of candidates) candidate.close()
})
const lines = [
  ...(await runLoads(candidates)),
  ...(wanted.some((name) => name.startsWith('service')) ? await runServices(candidates, upstreamPort) : []),
  ...(await runOthers(candidates, upstreamPort)),
]
console.log(`# Bench, Node ${process.version}, ${rounds} rounds with restarts${flags.quick ? ', quick' : ''}`)
console.log(lines.join('\n'))
await endChild(upstream)
