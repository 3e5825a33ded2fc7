import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import WebSocket from 'ws'
import { findBrowser } from '../support/browser.ts'
import { temporaryFolder } from '../support/gateway.ts'
import { readBlocks, whyNotRun } from '../support/manual.ts'
import { type BlockOutcome, checkOutcomes, checkStatuses, runBlocks } from '../support/manual-shell.ts'
import { unusedPort } from '../support/ports.ts'
import { clone } from './support/deployment.ts'
import { findComposes, nodeImage, TEST_PYTHON_IMAGE, whyNoContainers } from './support/engine.ts'
import { output, poll, run, shell } from './support/shell.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const PYTHON = 'python:3.13-slim-bookworm'
const reason = await whyNoContainers()
if (reason !== undefined) t.plan(0, reason)
else {
  await t.test('R0: microservices, JWTs and Socket.IO, as the README says', testMicroservices)
  await t.test('R1: REST and WebSockets, and a page on another origin', testRestAndWebsocket)
  await t.test('R2: keys in front of an internal API', testKeyPlatform)
}

interface Example {
  folder: string
  /** `docker-compose <line>` of the example. */
  compose(line: string): Promise<string>
  /** All blocks of its README, as a reader pastes them. */
  follow(otherPorts: Record<string, number>): Promise<(words: string) => string>
}

/** What builds here where public images cannot be pulled: services and their build arguments. */
type Builds = Record<string, { context: string; args?: Record<string, string> }>

async function openExample(
  t: Test,
  name: string,
  { builds, env }: { builds: Builds; env: Record<string, string> },
): Promise<Example> {
  const root = await clone(t)
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'))
  const folder = join(root, 'examples', name)
  const services = Object.entries(builds).map(([service, build]) => [service, { build }])
  writeFileSync(join(folder, 'builds.json'), JSON.stringify({ services: Object.fromEntries(services) }))
  const [compose = []] = await findComposes()
  const files = '-f docker-compose.yml -f builds.json'
  const project = `gateway-edge-${name.slice(0, 2)}`
  const bin = join(root, 'bin')
  mkdirSync(bin)
  const command = `exec ${(await output('which', [compose[0] ?? ''])).trim()} ${compose.slice(1).join(' ')}`
  writeFileSync(join(bin, 'docker-compose'), `#!/bin/sh\n${command} -p ${project} ${files} "$@"\n`, {
    mode: 0o755,
  })
  const where = { cwd: folder, env: { ...env, PATH: `${bin}:${process.env.PATH}`, DOCKER_BUILDKIT: '0' } }
  const line = (words: string) => shell(`docker-compose ${words}`, where)
  // Without its .env, which holds the secrets, Compose reads no file.
  t.teardown(() => line('down -v -t 5').catch(() => undefined))
  const follow = async (otherPorts: Record<string, number>) => {
    const page = `examples/${name}/README.md`
    const blocks = readBlocks(page).filter((each) => whyNotRun({ ...each, text: '' }) === undefined)
    const port = otherPorts[8088] ?? 0
    const outcomes = await runBlocks(
      t,
      { folder, port, otherPorts, env: { ...where.env, CLONE: root, FOLDER: root } },
      blocks,
    )
    checkOutcomes(t, outcomes)
    checkStatuses(t, outcomes)
    for (const [program = '', ...first] of await findComposes()) {
      const read = await run(program, [...first, '-f', 'docker-compose.yml', 'config', '-q'], { cwd: folder })
      t.equal(read.code, 0, `${[program, ...first].join(' ')} reads the file: ${read.stderr}`)
    }
    return (words: string) => find(outcomes, words)
  }
  return { folder, compose: line, follow }
}

function find(outcomes: readonly BlockOutcome[], words: string): string {
  return outcomes.find(({ block }) => block.text.includes(words))?.output ?? ''
}

/** What the services of an example are built with on this machine. */
async function buildsOf(contexts: Record<string, string>): Promise<Builds> {
  const node = await nodeImage()
  const args = node === undefined ? {} : { args: { NODE_IMAGE: node } }
  return Object.fromEntries(Object.entries(contexts).map(([name, context]) => [name, { context, ...args }]))
}

/** Debian's Python where the public image cannot be pulled; undefined: it can. */
async function pythonImage(t: Test): Promise<string | undefined> {
  const isKnown = (await run('docker', ['image', 'inspect', PYTHON])).code === 0
  if (isKnown || (await run('docker', ['pull', '-q', PYTHON])).code === 0) return undefined
  const folder = temporaryFolder(t)
  const [sources, authority] = [
    '/etc/apt/sources.list.d/debian.sources',
    '/etc/ssl/certs/ca-certificates.crt',
  ]
  for (const file of [sources, authority])
    if (existsSync(file)) copyFileSync(file, join(folder, file.split('/').at(-1) ?? ''))
  writeFileSync(
    join(folder, 'Dockerfile'),
    `FROM debian:bookworm-slim
COPY debian.sources ${sources}
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
COPY ca-certificates.crt /usr/local/etc/build-ca.crt
RUN printf '[global]\\ncert = /usr/local/etc/build-ca.crt\\n' > /etc/pip.conf\n`,
  )
  await shell(`docker build -q -t ${TEST_PYTHON_IMAGE} .`, { cwd: folder, env: { DOCKER_BUILDKIT: '0' } })
  return TEST_PYTHON_IMAGE
}

/** How many containers of the project have a port outside. */
async function publishedPorts(name: string): Promise<number> {
  const filter = `label=com.docker.compose.project=gateway-edge-${name}`
  const lines = await output('docker', ['ps', '--filter', filter, '--format', '{{.Ports}}'])
  return lines.split('\n').filter((line) => line.includes('->')).length
}

async function testMicroservices(t: Test) {
  const port = await unusedPort()
  const builds = await buildsOf({
    'api-gateway': '../..',
    'auth-service': './services',
    'user-service': './services',
    'messaging-service': './services',
  })
  const { compose, follow } = await openExample(t, 'r0-microservices', {
    builds,
    env: { GATEWAY_PORT: String(port) },
  })
  const said = await follow({ 5000: port })
  const asked = said('/seen/by-the-service')
  t.match(asked, '{"id":"42","askedBy":{"id":"ann","claims":{"role":"admin"')
  const seen = JSON.parse(/\{"method".*\}/.exec(asked)?.[0] ?? '{}')
  t.match(seen, { method: 'GET', url: '/seen/by-the-service?x=1' })
  t.match(seen.headers, {
    'x-user-id': 'ann',
    'x-internal-api-key': /^[\da-f]{64}$/,
    'x-forwarded-prefix': '/api/users',
  })
  t.notMatch(seen.headers, { authorization: /./ }, 'the JWT stays here')
  const spoken = said('socket.io-client')
  t.match(spoken, "polling { transport: 'polling' }")
  t.match(spoken, "websocket { transport: 'websocket' }")
  t.match(spoken, /polling,websocket \{ transport: '(polling|websocket)' \}/)
  t.equal(await publishedPorts('r0'), 1, 'only the gateway is reached from outside')
  const direct = await compose(
    "exec -T api-gateway curl -s -o /dev/null -w '%{http_code}' -H 'x-internal-api-key: guessed' http://user-service:3000/42",
  )
  t.equal(direct, '403', 'a service answers nobody without the key')
  t.match(await compose('logs --no-color api-gateway'), '"listening"')
  t.notMatch(await compose('logs --no-color api-gateway'), seen.headers['x-internal-api-key'])
}

async function testRestAndWebsocket(t: Test) {
  const [port, pagePort] = [await unusedPort(), await unusedPort()]
  const origin = `http://localhost:${pagePort}`
  const python = await pythonImage(t)
  const backend = {
    context: './backend',
    ...(python === undefined ? {} : { args: { PYTHON_IMAGE: python } }),
  }
  const builds = { ...(await buildsOf({ 'api-gateway': '../..' })), backend }
  const env = { GATEWAY_PORT: String(port), FRONTEND_PORT: String(pagePort) }
  const { compose, follow, folder } = await openExample(t, 'r1-rest-and-websocket', { builds, env })
  await shell(`sed -i 's/:5173$/:${pagePort}/; s/=30000$/=2000/' .env.example`, { cwd: folder })
  const said = await follow({ 8088: port, 5173: pagePort })
  t.match(said('of-the-backend'), '"asked_with":"Bearer of-the-backend"')
  t.match(said('of-the-backend').toLowerCase(), `access-control-allow-origin: ${origin}`)

  const url = `ws://127.0.0.1:${port}`
  const both = ['/ws?session_id=test-123', '/ws/test-123']
  for (const path of both)
    t.match(await firstMessage(url + path, origin), '"session_id":"test-123","url":"/ws/test-123"', path)
  t.match(await firstMessage(`${url}/ws/x`, 'http://elsewhere.test'), '403')
  const slow = await fetch(`http://127.0.0.1:${port}/api/slow?seconds=20`)
  t.equal(slow.status, 504, 'a slow backend')

  const live = new WebSocket(`${url}/ws/live`, { origin })
  const closed = new Promise<number>((resolve) => live.once('close', resolve))
  await new Promise((resolve) => live.once('message', resolve))
  await compose('stop -t 2 backend')
  t.ok([1001, 1006, 1011, 1012, 1013].includes(await closed), 'a socket does not outlive its backend')
  await compose('start backend')
  const health = () =>
    fetch(`http://127.0.0.1:${port}/api/health`).then(({ status }) => (status === 200 ? true : undefined))
  await poll('the backend', health)

  const browser = findBrowser()
  if (browser === undefined) return t.comment('no chromium here: the page is not opened')
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=8000', '--dump-dom']
  const home = temporaryFolder(t, 'gw-browser-')
  const page = `${origin}/?api=http://localhost:${port}`
  const look = () => output(browser, [...flags, `--user-data-dir=${home}`, page], { env: { HOME: home } })
  // The browser's clock runs ahead while nothing is loaded, and sockets are nothing to it: it looks again.
  const shown = await poll('the page', async () => {
    const seen = await look()
    return seen.includes('working on a video') ? seen : undefined
  })
  t.match(shown, 'REST: 200 {"status":"healthy"}')
}

/** What a socket says first; of one that is refused its status. */
function firstMessage(url: string, origin: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, { origin })
    socket.on('message', (data) => {
      resolve(String(data))
      socket.close()
    })
    socket.on('error', (error) => resolve(error.message))
  })
}

async function testKeyPlatform(t: Test) {
  const port = await unusedPort()
  const builds = await buildsOf({ 'api-gateway': '../..', 'internal-api': './internal-api' })
  const { compose, follow } = await openExample(t, 'r2-key-platform', {
    builds,
    env: { GATEWAY_PORT: String(port) },
  })
  const said = await follow({ 3001: port })
  const asked = said('expand=lines')
  t.match(asked, '"url": "/orders/42?expand=lines"')
  t.match(asked, '"x-internal-api-key": "the right one"')
  t.match(asked, '"x-token-user": "acme"')
  t.notMatch(asked, /"x-api-key"/)
  t.match(asked, /x-ratelimit-limit-requests: 4\r?\n/i)
  t.match(asked, /x-ratelimit-remaining-requests: 1\r?\n/i)
  const rows = said('usage.sqlite')
  t.match(rows, /acme.*GET.*\/orders\/\{id\}.*200/)
  t.match(rows, /acme.*PATCH.*\/orders\/\{id\}.*200/)
  t.match(rows, /zenith.*\/orders.*200/)
  t.notMatch(rows, /expand|api_key/, 'no query')
  t.notMatch(await compose('logs --no-color api-gateway'), /api_key=|expand=/)
  t.equal(await publishedPorts('r2'), 1)
}
