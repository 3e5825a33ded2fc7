import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { Candidate, Running } from './candidates.ts'
import { CANDIDATE_CORE, endChild, OTHER_CORE, startPinned } from './children.ts'
import { coreBusyUs, cpuUs, memoryBytes, quantile } from './measure.ts'

export interface LoadShape {
  /** A GET of this path; undefined: a chat is posted. */
  path?: string
  model: string
  bytes: number
  stream: boolean
  connections: number
}

export interface Timing {
  warmMs: number
  warmRequests: number
  windowMs: number
}

/** What one window of load showed. */
export interface Window {
  cpuUs: number
  perSecond: number
  p50Ms: number
  p99Ms: number
  failed: number
  /** The share of the candidate's core that somebody else took. */
  noise: number
}

interface Report {
  at: 'start' | 'end' | 'open'
}

interface LoadReport extends Report {
  completed: number
  failed: number
  latenciesMs: number[]
  clockMs: number
}

export interface StreamReport extends Report {
  errors: number
  starved: number
  firstMs: number[]
  delaysMs: number[]
}

function startLoad(file: string, job: object): ChildProcess {
  const args = [join(import.meta.dirname, file), JSON.stringify(job)]
  return startPinned({ core: OTHER_CORE, command: process.execPath, args, ipc: true })
}

function nextReport<T extends Report>(load: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = (why: string) => reject(new Error(`the load ${why}`))
    const timer = setTimeout(giveUp, 60_000, 'reported nothing for a minute')
    const ended = () => giveUp('ended before its report')
    load.once('exit', ended)
    load.once('message', (report: T) => {
      clearTimeout(timer)
      load.off('exit', ended)
      resolve(report)
    })
  })
}

/** CPU per request under closed-loop load, of a freshly started candidate. */
export async function measureLoad(candidate: Candidate, shape: LoadShape, timing: Timing): Promise<Window> {
  const running = await candidate.start()
  const { connections, ...request } = shape
  const load = startLoad('load-plain.ts', {
    port: running.port,
    request: { ...request, headers: candidate.headers },
    connections,
    ...timing,
  })
  try {
    const from = await nextReport<LoadReport>(load)
    const [cpuFrom, busyFrom] = [cpuUs(running.pid), coreBusyUs(CANDIDATE_CORE)]
    const to = await nextReport<LoadReport>(load)
    const cpu = cpuUs(running.pid) - cpuFrom
    const busy = coreBusyUs(CANDIDATE_CORE) - busyFrom
    const [count, ms] = [to.completed - from.completed, to.clockMs - from.clockMs]
    return {
      cpuUs: cpu / count,
      perSecond: (count / ms) * 1000,
      p50Ms: quantile(to.latenciesMs, 0.5),
      p99Ms: quantile(to.latenciesMs, 0.99),
      failed: to.failed,
      noise: Math.max(0, busy - cpu) / (ms * 1000),
    }
  } finally {
    await endChild(load)
    await running.stop()
  }
}

export interface Paced {
  errors: number
  starved: number
  firstP50Ms: number
  firstP99Ms: number
  delayP50Ms: number
  delayP99Ms: number
}

function streamJob(
  candidate: Candidate,
  running: Running,
  job: { streams: number; events: number; everyMs: number },
) {
  return {
    port: running.port,
    headers: candidate.headers,
    model: `sse-${job.events}-${job.everyMs}ms`,
    spreadMs: 1000,
    limitMs: job.events * job.everyMs + 15_000,
    ...job,
  }
}

/** Thousands of short streams first: code that has just been compiled says little about a running service. */
async function warmStreams(
  candidate: Candidate,
  running: Running,
  { warmMs, warmRequests }: { warmMs: number; warmRequests: number },
): Promise<void> {
  const load = startLoad('load-plain.ts', {
    port: running.port,
    request: { model: 'sse-50-0ms', bytes: 500, stream: true, headers: candidate.headers },
    connections: 64,
    warmMs,
    warmRequests,
    windowMs: 100,
  })
  await nextReport(load)
  await nextReport(load)
  await endChild(load)
}

/** How 500 streams of 50 events a second fare side by side. */
export async function measurePaced(candidate: Candidate, seconds: number): Promise<Paced> {
  const running = await candidate.start()
  await warmStreams(candidate, running, { warmMs: 4000, warmRequests: 10_000 })
  const load = startLoad(
    'load-stream.ts',
    streamJob(candidate, running, { streams: 500, events: seconds * 50, everyMs: 20 }),
  )
  try {
    let report = await nextReport<StreamReport>(load)
    while (report.at !== 'end') report = await nextReport<StreamReport>(load)
    return {
      errors: report.errors,
      starved: report.starved,
      firstP50Ms: quantile(report.firstMs, 0.5),
      firstP99Ms: quantile(report.firstMs, 0.99),
      delayP50Ms: quantile(report.delaysMs, 0.5),
      delayP99Ms: quantile(report.delaysMs, 0.99),
    }
  } finally {
    await endChild(load)
    await running.stop()
  }
}

/**
 * Bytes of memory that each of 1,000 open streams adds to a warm, idle process. The growth of the young heap is
 * in it: an upper bound, since a process that has carried heavier traffic would show less.
 */
export async function measureMemory(candidate: Candidate): Promise<number> {
  const running = await candidate.start()
  // The warm-up is counted in requests: on a slow machine 300 ms of them leave the process cold, and its warming up
  // would be measured.
  await warmStreams(candidate, running, { warmMs: 300, warmRequests: 2_000 })
  await new Promise((calm) => setTimeout(calm, 1000))
  const idle = memoryBytes(running.pid)
  const load = startLoad(
    'load-stream.ts',
    streamJob(candidate, running, { streams: 1000, events: 8, everyMs: 1000 }),
  )
  try {
    const { at } = await nextReport(load)
    if (at !== 'open') throw new Error('not all of the 1,000 streams opened')
    await new Promise((settled) => setTimeout(settled, 2000))
    return (memoryBytes(running.pid) - idle) / 1000
  } finally {
    await endChild(load)
    await running.stop()
  }
}

/** The time from the start of the process to its first answer over HTTP, in milliseconds. */
export async function measureStart(candidate: Candidate): Promise<number> {
  const running = await candidate.start()
  const from = performance.now()
  const path = candidate.name === 'gateway' ? '/v1/token' : '/'
  const answer = await fetch(`http://127.0.0.1:${running.port}${path}`, { headers: candidate.headers })
  await answer.arrayBuffer()
  const ms = running.startMs + performance.now() - from
  await running.stop()
  if (candidate.name === 'gateway' && answer.status !== 200)
    throw new Error(`the first answer was a ${answer.status}`)
  return ms
}
