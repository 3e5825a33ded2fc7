import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { startGateway, temporaryFolder } from '../support/gateway.ts'
import { bareEnv, runProcess, startProcess, systemNode } from '../support/process.ts'
import { openScene } from '../support/scene.ts'
import { ROOT, stopAmidStream } from '../support/supervised.ts'

const older = systemNode()
const skip = older === process.execPath && 'this needs a Node older than 24.12 on the PATH'

t.test('SIGTERM to npm reaches the server, which lets a stream end and leaves with 0', async (t) => {
  const { promise, resolve } = Promise.withResolvers<ReturnType<typeof spawn>>()
  const seen = await stopAmidStream(t, {
    start: (env) => resolve(spawn('npm', ['start'], { cwd: ROOT, env, stdio: 'ignore' })),
    async stop() {
      const npm = await promise
      const ended = once(npm, 'exit')
      npm.kill('SIGTERM')
      return (await ended)[0]
    },
  })
  t.match(seen, { code: 0, cut: false, text: /one.*two.*DONE/s, left: [], held: 0, isExact: true })
  t.ok([503, 'ECONNREFUSED'].includes(seen.newcomer))
})

t.test(
  'a start that is told to end before it listens ends with 0, soon, and leaves a sound store',
  async (t) => {
    const { options } = await openScene(t)
    const codes = new Set<number | string | null>()
    for (const afterMs of [60, 120, 180, 240, 300, 400]) {
      const { child, exited, stdout } = startProcess(t, {
        args: [join(ROOT, 'src', 'server.js')],
        env: { ...bareEnv(), ...options.env, PORT: '0', DB_DIR: options.dbDir, LOG_DIR: options.logDir },
        cwd: temporaryFolder(t),
      })
      await wait(afterMs)
      const from = performance.now()
      child.kill('SIGTERM')
      const { code, signal } = await exited
      // Node itself takes a moment until it reads the first file.
      if (stdout() !== '' || signal === null) codes.add(code)
      t.ok(performance.now() - from < 3_000, `${afterMs} ms`)
    }
    t.strictSame([...codes], [0])
    const next = await startGateway(t, options)
    t.equal((await next.stop()).code, 0)
  },
)

t.test('signals that mean nothing here end nothing, and open no debugger', async (t) => {
  const { options } = await openScene(t)
  const gateway = await startGateway(t, options)
  for (const signal of ['SIGPIPE', 'SIGHUP', 'SIGUSR1'] as const) gateway.signal(signal)
  await gateway.waitForLine(({ msg }) => msg === 'SIGUSR1 means nothing here')
  t.notMatch(gateway.stderr(), 'Debugger')
  t.equal((await gateway.stop('SIGQUIT')).code, 0)
})

t.test('a server whose starter is gone with its terminal goes on', async (t) => {
  const { options } = await openScene(t)
  const env = {
    ...bareEnv(),
    ...options.env,
    PORT: '0',
    HOST: '127.0.0.1',
    DB_DIR: options.dbDir,
    LOG_DIR: options.logDir,
    MODELS_FILE: options.modelsFile,
  }
  const npm = spawn('npm', ['start'], { cwd: ROOT, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => npm.pid && process.kill(-npm.pid, 'SIGKILL'))
  let text = ''
  npm.stdout.on('data', (piece) => {
    text += piece
  })
  const says = async (words: string) => {
    while (!text.includes(words)) await once(npm.stdout, 'data')
  }
  await says('"listening"')
  const ended = once(npm, 'exit')
  process.kill(-(npm.pid ?? 0), 'SIGHUP')
  t.equal((await ended)[1], 'SIGHUP')
  await says('the terminal was closed: the gateway goes on')
  const { port } = JSON.parse(text.split('\n').find((line) => line.includes('"listening"')) ?? '{}')
  t.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 200)
  // Its terminal takes no more lines.
  npm.stdout.destroy()
  npm.stderr.destroy()
  for (let count = 0; count < 3; count++) {
    t.equal((await fetch(`http://127.0.0.1:${port}/v1/models`)).status, 401)
    await wait(150)
  }
})

/** The sources as a fresh clone has them, without packages. */
function cloneSources(): string {
  const clone = temporaryFolder(t, 'gw-clone-')
  const filter = (from: string) => !/src.(db|logs)$/.test(from)
  for (const path of ['package.json', 'src', 'scripts'])
    cpSync(join(ROOT, path), join(clone, path), { recursive: true, filter })
  return clone
}

t.test('before npm ci every way to start says what to do', { skip }, async (t) => {
  const clone = cloneSources()
  const env = { ...bareEnv(), PATH: `${join(older, '..')}:/usr/bin:/bin` }
  for (const [args, code] of [
    [['src/server.js'], 78],
    [['scripts/token-gen.js', '--help'], 1],
    [['scripts/ledger-check.js'], 1],
    [['scripts/ready.js'], 1],
  ] as const) {
    const seen = await runProcess(t, { command: older, args, env, cwd: clone })
    t.match(seen, {
      code,
      stdout: '',
      stderr: /^This needs Node 24\.12 or later \(found v\d+.*"npm ci" first.*\n$/,
    })
    // And under the right Node, where nothing but the packages is missing.
    const other = await runProcess(t, { args, env, cwd: clone })
    t.match(other, { code, stdout: '', stderr: /^The package "[^"]+" is missing: run "npm ci" .*\n$/ })
  }
})
