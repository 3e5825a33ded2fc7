import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { get, send } from '../support/client.ts'
import { startGateway, temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'
import { unusedPort } from '../support/ports.ts'
import { refused } from '../support/realtime.ts'
import { servicesFile } from '../support/services-file.ts'
import { openSocket } from '../support/sockets.ts'
import type { Owner } from '../support/waiting.ts'

const PACKAGES = ['fastapi==0.115.6', 'uvicorn[standard]==0.54.0']
const PAGE = 'https://pipeline.example.com'

/** The backend of reference R1: REST, and WebSockets in two forms. */
const BACKEND = `
import asyncio, os
from fastapi import FastAPI, WebSocket, WebSocketException
from fastapi.middleware.cors import CORSMiddleware

app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=[os.environ["FRONTEND_URL"]], allow_credentials=True,
                   allow_methods=["*"], allow_headers=["*"])

@app.get("/health")
async def health():
    return {"status": "healthy"}

@app.put("/items/{item}")
async def put(item: str, body: dict):
    return {"item": item, "body": body}

async def talk(socket: WebSocket, session: str, form: str):
    if session == "refused":
        raise WebSocketException(code=1008)
    if session == "slow":
        await asyncio.sleep(4)
    await socket.accept()
    await socket.send_json({"session": session, "form": form})
    while True:
        await socket.send_text("you said " + await socket.receive_text())

@app.websocket("/ws")
async def by_query(socket: WebSocket, session_id: str):
    await talk(socket, session_id, "query")

@app.websocket("/ws/{session_id}")
async def by_path(socket: WebSocket, session_id: str):
    await talk(socket, session_id, "path")
`

const hasVenv = spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0

/** A Python of its own with the packages; undefined: none can be had here. */
function makePython(t: Owner): string | undefined {
  const folder = temporaryFolder(t, 'gw-python-')
  const python = join(folder, 'venv', 'bin', 'python')
  if (spawnSync('python3', ['-m', 'venv', join(folder, 'venv')]).status !== 0) return undefined
  const args = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', ...PACKAGES]
  return spawnSync(python, args, { timeout: 120_000 }).status === 0 ? python : undefined
}

const python = hasVenv ? makePython(t) : undefined
const skip = !hasVenv
  ? 'python3 has no venv: apt-get install python3-venv'
  : python === undefined && `PyPI cannot be reached for ${PACKAGES.join(' and ')}`

async function startBackend(t: Owner, port: number) {
  const folder = temporaryFolder(t, 'gw-backend-')
  writeFileSync(join(folder, 'main.py'), BACKEND)
  const args = ['-m', 'uvicorn', 'main:app', '--port', String(port), '--log-level', 'warning']
  const child = spawn(python ?? '', args, {
    cwd: folder,
    env: { PATH: process.env.PATH, FRONTEND_URL: PAGE },
  })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const isUp = () =>
    fetch(`http://127.0.0.1:${port}/health`).then(
      ({ ok }) => ok,
      () => false,
    )
  await waitUntil(isUp, (up) => up)
  return async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await ended
  }
}

t.test(
  'R1 with FastAPI: REST, both forms of a session, CORS of its own, and every way to be gone',
  { skip },
  async (t) => {
    const port = await unusedPort()
    const stop = await startBackend(t, port)
    const target = `ws://127.0.0.1:${port}/ws`
    const gateway = await startGateway(t, {
      env: {
        PASSTHROUGH_PATHS: `/api=http://127.0.0.1:${port}!open`,
        WS_ROUTES: `/ws=${target}/{session_id}!open,/q=${target}?session_id={session_id}!open`,
        FIRST_BYTE_TIMEOUT_MS: '1000',
      },
    })
    t.same(JSON.parse(String((await get(gateway, '/api/health')).body)), { status: 'healthy' })
    for (const [path, form] of [
      ['/ws', 'path'],
      ['/q', 'query'],
    ] as const)
      for (const asked of [`${path}?session_id=test-123`, `${path}/test-123`]) {
        const socket = await openSocket(t, gateway.url + asked)
        t.same(JSON.parse(await socket.next()), { session: 'test-123', form }, asked)
        socket.ws.send('hello')
        t.equal(await socket.next(), 'you said hello')
        t.equal(socket.ws.extensions, '', 'nothing is compressed')
        socket.ws.close()
      }
    const preflight = await send(gateway, {
      method: 'OPTIONS',
      path: '/api/items/1',
      headers: { origin: PAGE, 'access-control-request-method': 'PUT' },
    })
    t.match(preflight.headers, {
      'access-control-allow-origin': PAGE,
      'access-control-allow-credentials': 'true',
    })
    t.equal((await refused(t, { url: `${gateway.url}/ws/refused` })).status, 403)
    t.equal((await refused(t, { url: `${gateway.url}/ws/slow` })).status, 504)
    const open = await openSocket(t, `${gateway.url}/ws/a`)
    await stop('SIGTERM')
    t.match(await open.closed, { code: 1012 }, 'uvicorn says that it restarts')
    t.equal((await get(gateway, '/api/health')).status, 502)
    t.equal((await refused(t, { url: `${gateway.url}/ws/a` })).status, 502)
    const kill = await startBackend(t, port)
    const again = await openSocket(t, `${gateway.url}/ws/a`)
    await kill('SIGKILL')
    t.match(await again.closed, { code: 1011 })
  },
)

t.test('R1: the front end may come with credentials, other pages may not', { skip }, async (t) => {
  const port = await unusedPort()
  await startBackend(t, port)
  const cors = { origins: [PAGE], credentials: true }
  const gateway = await startGateway(t, {
    modelsFile: servicesFile(t, {
      '/api': { to: `http://127.0.0.1:${port}`, auth: 'open', cors },
      '/ws': { to: `ws://127.0.0.1:${port}/ws/{session_id}`, serves: 'websocket', auth: 'open', cors },
    }),
  })
  const { headers } = await get(gateway, '/api/health', { origin: PAGE })
  t.match(headers, { 'access-control-allow-origin': PAGE, 'access-control-allow-credentials': 'true' })
  const { headers: other } = await get(gateway, '/api/health', { origin: 'https://evil.example.org' })
  t.equal(other['access-control-allow-origin'], undefined)
  const socket = await openSocket(t, `${gateway.url}/ws?session_id=s`, { headers: { origin: PAGE } })
  t.match(await socket.next(), /"session":"s"/)
  const stranger = { url: `${gateway.url}/ws?session_id=s`, headers: { origin: 'https://evil.example.org' } }
  t.equal((await refused(t, stranger)).status, 403)
})
