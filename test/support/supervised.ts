import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { bearer, credits, get, openStream, post } from './client.ts'
import type { TestGateway } from './gateway.ts'
import { mintToken, startGateway } from './gateway.ts'
import { unusedPort } from './ports.ts'
import { bareEnv } from './process.ts'
import { ask, openScene } from './scene.ts'
import { controlled } from './stream-behaviours.ts'
import type { Owner } from './waiting.ts'

export const ROOT = join(import.meta.dirname, '..', '..')
const CHAT = '/v1/chat/completions'
const PATIENCE_MS = 20_000
const event = (content: string) => `data: {"choices":[{"index":0,"delta":{"content":"${content}"}}]}\n\n`

/** How somebody else starts the gateway and stops it. */
export interface Supervisor {
  /** The environment names the folders, the port and a mark by which every process of this start is found. */
  start(env: Record<string, string>): Promise<unknown> | unknown
  /** Resolves when the supervisor says that it has stopped, with the exit code that it saw. */
  stop(): Promise<number | null>
}

/** What a user and the books saw of the stop. */
export interface Stopped {
  code: number | null
  /** The stream that ran while it stopped. */
  text: string
  cut: boolean
  /** What somebody got who came meanwhile: a status, or the code of a refused connection. */
  newcomer: number | string
  /** Processes of this start that still run. */
  left: string[]
  held: number
  charged: number
  isExact: boolean
}

/** Waits for what is only to be seen by looking; processes of others tell nobody. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    const seen = await look()
    if (seen !== undefined) return seen
    if (performance.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms in vain for ${what}`)
    await wait(50)
  }
}

/** Command lines of the processes that were started with this mark in their environment. */
export function processesOf(mark: string): { pid: number; line: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      if (!readFileSync(`/proc/${name}/environ`, 'utf8').includes(mark)) return []
      return [
        { pid: Number(name), line: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') },
      ]
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}

/** A gateway that somebody else starts, told to stop while a stream runs. */
export async function stopAmidStream(t: Owner, { start, stop }: Supervisor): Promise<Stopped> {
  const { provider, options } = await openScene(t)
  const port = await unusedPort()
  const mark = `GW_MARK=${randomUUID()}`
  const env = {
    ...bareEnv(),
    ...options.env,
    GW_MARK: mark.slice('GW_MARK='.length),
    PORT: String(port),
    HOST: '127.0.0.1',
    DB_DIR: options.dbDir,
    LOG_DIR: options.logDir,
    MODELS_FILE: options.modelsFile,
    ADMIN_FIRST: 'master-of-a-supervised-gateway-1',
  }
  t.teardown(() => {
    for (const { pid } of processesOf(mark)) process.kill(pid, 'SIGKILL')
  })
  await start(env)
  const target = { url: `http://127.0.0.1:${port}`, port }
  await eventually('the gateway to listen', () => get(target, '/health').then(isDone, notYet))
  const token = await mintToken(t, { dbDir: options.dbDir })
  const running = controlled()
  provider.queue(running)
  const stream = await openStream(target, { path: CHAT, body: ask(true), headers: bearer(token) })
  await running.write(event('one'))
  const stopped = stop()
  await eventually('the gateway to leave', () =>
    get(target, '/ready').then(
      ({ status }) => (status === 503 ? true : undefined),
      () => true,
    ),
  )
  const newcomer = await post(target, CHAT, ask(false), bearer(token)).then(
    ({ status }) => status,
    (error) => String(error.code),
  )
  // Longer than npm takes to die, and than the same order may be said twice.
  await wait(2_500)
  await running.write(event('two'))
  await running.write('data: [DONE]\n\n')
  await running.end()
  const { text, cut } = await stream.rest()
  const code = await stopped
  const left = processesOf(mark).map(({ line }) => line)
  return { code, text, cut, newcomer, left, ...(await readBooks(t, options, token)) }
}

const isDone = (): true => true
const notYet = (): undefined => undefined

async function readBooks(t: Owner, options: Parameters<typeof startGateway>[1], token: string) {
  const next: TestGateway = await startGateway(t, options)
  const { held, charged, credited, balance } = await credits(next, token)
  await next.stop()
  return { held, charged, isExact: credited === balance + charged }
}
