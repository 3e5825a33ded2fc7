import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { temporaryFolder } from './gateway.ts'
import { unusedPort } from './ports.ts'
import type { Owner } from './waiting.ts'

/** A real redis-server of the test's own. */
export interface TestRedis {
  port: number
  url: string
  pid: number
  /** Where its data are. */
  dir: string
  signal(signal: NodeJS.Signals): void
  /** Ends it and waits for the end. */
  kill(): Promise<void>
  /** Starts it again on the same port and data. */
  restart(): Promise<void>
}

/** Starts redis-server on a free port of 127.0.0.1, writing every command to disk; ended with the test. */
export async function startRedis(t: Owner, args: readonly string[] = []): Promise<TestRedis> {
  const port = await unusedPort()
  const dir = temporaryFolder(t, 'gw-redis-')
  const all = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    dir,
    '--save',
    '',
    '--appendonly',
    'yes',
  ]
  let child = await run([...all, ...args])
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'close')
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await gone
  }
  t.teardown(kill)
  await answers(port)
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    dir,
    signal: (signal) => child.kill(signal),
    kill,
    restart: async () => {
      child = await run([...all, ...args])
      await answers(port)
    },
  }
}

/** Starts a sentinel that watches one primary, named "main"; ended with the test. */
export async function startSentinel(
  t: Owner,
  {
    primaryPort,
    quorum = 1,
    lines = [],
  }: { primaryPort: number; quorum?: number; lines?: readonly string[] },
): Promise<{ port: number; signal(signal: NodeJS.Signals): void }> {
  const port = await unusedPort()
  const dir = temporaryFolder(t, 'gw-sentinel-')
  const path = join(dir, 'sentinel.conf')
  const monitor = `sentinel monitor main 127.0.0.1 ${primaryPort} ${quorum}`
  const all = [`port ${port}`, 'bind 127.0.0.1', `dir ${dir}`, monitor, ...lines]
  writeFileSync(path, all.join('\n'), { mode: 0o600 })
  const child = await run([path], 'redis-sentinel')
  t.teardown(async () => {
    const gone = once(child, 'close')
    child.kill('SIGKILL')
    await gone
  })
  await answers(port)
  return { port, signal: (signal) => child.kill(signal) }
}

async function run(args: readonly string[], program = 'redis-server') {
  const child = spawn(program, args, { stdio: 'ignore' })
  await once(child, 'spawn').catch(() => {
    throw new Error(`${program} cannot be started: install it (apt-get install ${program})`)
  })
  return child
}

/** Resolves when PING is answered, even if only by the wish for a password. */
export async function answers(port: number): Promise<void> {
  for (const until = Date.now() + 20_000; ; await wait(20)) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      socket.write('PING\r\n')
      const [answer] = await once(socket, 'data')
      if (!String(answer).startsWith('-LOADING')) return
    } catch (error) {
      if (Date.now() > until) throw error
    } finally {
      socket.destroy()
    }
  }
}

/** Fills it with what is nobody's up to a share of its `maxmemory`, and beyond it where `share` says so. */
export async function fillRedis(port: number, share: number): Promise<void> {
  const redis = new Redis(port)
  try {
    for (let number = 0; ; number++) {
      const info = await redis.info('memory')
      const read = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1])
      const left = Math.ceil(share * read('maxmemory') - read('used_memory'))
      if (left <= 0) return
      // A script whose first write needs no memory is not refused for want of it.
      const script = `redis.call('DEL', KEYS[1]) redis.call('SETRANGE', KEYS[1], ARGV[1] - 1, 'x')`
      await redis.eval(script, 1, `ballast:${share}:${number}`, Math.min(left, 1_000_000))
    }
  } finally {
    redis.disconnect()
  }
}
