import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CANDIDATE_CORE, endChild, findProgram, freePort, startPinned } from './children.ts'
import { type Prepared, prepareGateway } from './prepare-gateway.ts'

/** One proxy under test, running. */
export interface Running {
  pid: number
  port: number
  /** The time from the start of the process to its first accepted connection. */
  startMs: number
  stop(): Promise<void>
}

export interface Candidate {
  name: 'nginx' | 'bare' | 'relay' | 'gateway' | 'before' | 'many'
  /** What the client sends along. */
  headers: Record<string, string>
  start(): Promise<Running>
  close(): void
}

function nginxConfig(port: number, upstreamPort: number) {
  return `
worker_processes 1; daemon off; master_process off; pid nginx.pid; error_log stderr crit; worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  keepalive_requests 10000000; client_max_body_size 20m; client_body_buffer_size 1m;
  upstream up { server 127.0.0.1:${upstreamPort}; keepalive 2048; keepalive_requests 10000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
    location /ws { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection Upgrade; proxy_set_header Upgrade websocket; }
  }
}`
}

/** nginx as a plain proxy with keep-alive; undefined when it is not installed. */
export function nginxCandidate(upstreamPort: number): Candidate | undefined {
  const command = findProgram('nginx')
  if (command === undefined) return undefined
  const cwd = mkdtempSync(join(tmpdir(), 'gw-bench-nginx-'))
  const start = async () => {
    const port = await freePort()
    writeFileSync(join(cwd, 'nginx.conf'), nginxConfig(port, upstreamPort))
    return started(
      port,
      startPinned({ core: CANDIDATE_CORE, command, args: ['-p', cwd, '-c', 'nginx.conf'], cwd }),
    )
  }
  return {
    name: 'nginx',
    headers: {},
    start,
    close: () => rmSync(cwd, { recursive: true, force: true, maxRetries: 3 }),
  }
}

/** A bare @fastify/http-proxy. */
export function bareCandidate(upstreamPort: number): Candidate {
  const start = async () => {
    const port = await freePort()
    const env = { PORT: String(port), UPSTREAM: `http://127.0.0.1:${upstreamPort}` }
    const args = [join(import.meta.dirname, 'bare-proxy.ts')]
    return started(port, startPinned({ core: CANDIDATE_CORE, command: process.execPath, args, env }))
  }
  return { name: 'bare', headers: {}, start, close: () => undefined }
}

/** A TCP relay that knows no protocol. */
export function relayCandidate(upstreamPort: number): Candidate {
  const start = async () => {
    const port = await freePort()
    const env = { PORT: String(port), UPSTREAM_PORT: String(upstreamPort) }
    const args = [join(import.meta.dirname, 'tcp-relay.ts')]
    return started(port, startPinned({ core: CANDIDATE_CORE, command: process.execPath, args, env }))
  }
  return { name: 'relay', headers: {}, start, close: () => undefined }
}

export interface GatewayOptions extends Prepared {
  /** Another checkout of this project, installed: its gateway stands beside this one as "before". */
  checkout?: string
}

/** The arguments of `npm start` in that checkout, with its flags for V8: docs/guarantees.md has the figures. */
export function startArguments(root: string): string[] {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  // What stands behind it is for shells that know no `exec`.
  const [command = ''] = String(scripts.start).split('||')
  const flags = command.split(' ').filter((word) => word.startsWith('--'))
  return [...flags, join(root, 'src', 'server.js')]
}

/** A gateway with everything on, this one's if no other checkout is named. */
export async function gatewayCandidate(
  upstreamPort: number,
  { checkout, ...prepared }: GatewayOptions = {},
): Promise<Candidate> {
  const { env, cwd, secret } = await prepareGateway(upstreamPort, prepared)
  const root = checkout ?? join(import.meta.dirname, '..')
  const start = async () => {
    const port = await freePort()
    const args = startArguments(root)
    const all = { ...env, PORT: String(port) }
    return started(
      port,
      startPinned({ core: CANDIDATE_CORE, command: process.execPath, args, env: all, cwd }),
    )
  }
  const close = () => rmSync(cwd, { recursive: true, force: true, maxRetries: 3 })
  const name = checkout === undefined ? 'gateway' : 'before'
  return { name, headers: { authorization: `Bearer ${secret}` }, start, close }
}

function reachable(port: number) {
  return new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const tell = (is: boolean) => {
      socket.destroy()
      resolve(is)
    }
    socket.once('connect', () => tell(true)).once('error', () => tell(false))
  })
}

async function started(port: number, child: ChildProcess): Promise<Running> {
  const from = performance.now()
  let complaint = ''
  child.stderr?.on('data', (text) => {
    complaint = (complaint + text).slice(-2000)
  })
  while (!(await reachable(port))) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode} at its start: ${complaint}`)
    if (performance.now() - from > 20_000) throw new Error(`it did not listen within 20 s: ${complaint}`)
    await new Promise((again) => setTimeout(again, 3))
  }
  const startMs = performance.now() - from
  return { pid: child.pid ?? 0, port, startMs, stop: () => endChild(child) }
}
