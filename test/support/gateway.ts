import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Exit, RunningProcess } from './process.ts'
import { bareEnv, runProcess, startProcess } from './process.ts'
import type { Owner } from './waiting.ts'
import { createWaiting } from './waiting.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const SERVER = join(ROOT, 'src', 'server.js')
const TOKEN_GEN = join(ROOT, 'scripts', 'token-gen.js')
const START_TIMEOUT_MS = 15_000

/** One line of the log. */
export interface LogLine {
  level: string
  msg: string
  [field: string]: unknown
}

/** The real server in a process of its own. */
export interface TestGateway {
  url: string
  port: number
  pid: number
  dbDir: string
  logDir: string
  /** `ADMIN_FIRST` as the process got it. */
  masterToken: string
  stdout(): string
  stderr(): string
  /** The log so far; what is no JSON object is left out. */
  lines(): LogLine[]
  waitForLine(find: (line: LogLine) => boolean, timeoutMs?: number): Promise<LogLine>
  /** Sends the signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Exit & { ms: number }>
  kill9(): Promise<Exit>
  /** Sends a signal that does not end it, such as SIGHUP. */
  signal(signal: NodeJS.Signals): void
  exited: Promise<Exit>
}

export interface GatewayOptions {
  /** Beside the defaults; an empty string unsets a default. */
  env?: Record<string, string>
  modelsFile?: string
  /** To start again on what an earlier gateway left; otherwise fresh, removed with the test. */
  dbDir?: string
  logDir?: string
  /** Where it is started; an empty folder unless given. */
  cwd?: string
  /** How many files and sockets it may open; wants `prlimit` (util-linux). */
  mostFiles?: number
}

/** A folder of its own under the system's temporary one, removed with the test. */
export function temporaryFolder(t: Owner, name = 'gw-test-'): string {
  const folder = mkdtempSync(join(tmpdir(), name))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Starts the server on a free port; rejects with all it said when it ends instead of listening. */
export async function startGateway(t: Owner, options: GatewayOptions = {}): Promise<TestGateway> {
  const { started, dbDir, logDir, env } = spawnGateway(t, options)
  const waiting = createWaiting()
  started.onChange(() => waiting.check())
  const lines = () => parseLines(started.stdout())
  let exit: Exit | undefined
  void started.exited.then((seen) => {
    exit = seen
    waiting.check()
  })
  const listening = () => lines().find((line) => line.msg === 'listening')
  const first = await waiting.until('the server to listen', () => listening() ?? exit, START_TIMEOUT_MS)
  if (!('msg' in first)) throw new Error(`the server ended before it listened: ${JSON.stringify(exit)}`)
  const port = Number(first.port)
  const { child } = started
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    pid: child.pid ?? 0,
    dbDir,
    logDir,
    masterToken: env.ADMIN_FIRST ?? '',
    stdout: started.stdout,
    stderr: started.stderr,
    lines,
    waitForLine: (find, timeoutMs) => waiting.until('a log line', () => lines().find(find), timeoutMs),
    stop: (signal = 'SIGTERM') => stop(started, signal),
    kill9: () => stop(started, 'SIGKILL'),
    signal: (signal) => child.kill(signal),
    exited: started.exited,
  }
}

/** Starts the server where it is expected to refuse, and returns what it said. */
export function failGateway(t: Owner, options: GatewayOptions = {}): Promise<Exit> {
  return spawnGateway(t, options).started.exited
}

function spawnGateway(t: Owner, options: GatewayOptions) {
  // An empty folder: the server reads `.env` from where it is started.
  const cwd = options.cwd ?? temporaryFolder(t, 'gw-cwd-')
  const dbDir = options.dbDir ?? join(temporaryFolder(t, 'gw-db-'), 'db')
  const logDir = options.logDir ?? join(temporaryFolder(t, 'gw-log-'), 'logs')
  const env: Record<string, string> = {
    ...bareEnv(),
    PORT: '0',
    HOST: '127.0.0.1',
    DB_DIR: dbDir,
    LOG_DIR: logDir,
    ADMIN_FIRST: `master-${randomBytes(16).toString('hex')}`.slice(0, 32),
    ...(options.modelsFile === undefined ? {} : { MODELS_FILE: options.modelsFile }),
    ...options.env,
  }
  const { mostFiles } = options
  const limited = {
    command: 'prlimit',
    args: [`--nofile=${mostFiles}:${mostFiles}`, process.execPath, SERVER],
  }
  const program = mostFiles === undefined ? { args: [SERVER] } : limited
  return { started: startProcess(t, { ...program, env, cwd }), dbDir, logDir, env }
}

async function stop(started: RunningProcess, signal: NodeJS.Signals) {
  const from = performance.now()
  started.child.kill(signal)
  return { ...(await started.exited), ms: performance.now() - from }
}

function parseLines(text: string): LogLine[] {
  return text.split('\n').flatMap((line) => {
    if (!line.startsWith('{')) return []
    try {
      return [JSON.parse(line)]
    } catch {
      // The last line may be half there.
      return []
    }
  })
}

export interface TokenOptions {
  user?: string
  credits?: number | string
  type?: 'user' | 'admin'
  name?: string
  models?: string
  expires?: string
  perMinute?: number
  perDay?: number
  inFlight?: number
  addresses?: string
  services?: string
}

/** Runs the token command beside the gateway with these arguments. */
export function runTokenGen(
  t: Owner,
  dbDir: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Exit> {
  return runProcess(t, {
    args: [TOKEN_GEN, ...args],
    env: { ...bareEnv(), DB_DIR: dbDir, ...env },
    cwd: temporaryFolder(t, 'gw-cwd-'),
  })
}

/** Mints a token with the token command, as an operator would, and returns its secret. */
export async function mintToken(
  t: Owner,
  { dbDir, env }: { dbDir: string; env?: Record<string, string> },
  options: TokenOptions = {},
): Promise<string> {
  const { user = 'testuser', credits = 1_000_000, type = 'user', ...rest } = options
  const flags = Object.entries(rest).flatMap(([flag, value]) =>
    value === undefined ? [] : [`--${flag}`, String(value)],
  )
  const args = ['--type', type, '--userName', user, '--token', String(credits), ...flags]
  const { code, stdout, stderr } = await runTokenGen(t, dbDir, args, env)
  if (code !== 0) throw new Error(`token-gen ended with ${code}\n${stderr}${stdout}`)
  return stdout.trim()
}
