import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../support/gateway.ts'
import { bareEnv, systemNode } from '../support/process.ts'
import { eventually, processesOf, ROOT, type Stopped, stopAmidStream } from '../support/supervised.ts'

const has = (command: string) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0
const needs = (command: string, how: string) => !has(command) && `${command} is missing: ${how}`
const readDeployed = (name: string) =>
  readFileSync(join(ROOT, 'deploy', name), 'utf8').replaceAll('/opt/llm-api-gateway', ROOT)

function checkStop(t: Test, stopped: Stopped): void {
  t.notOk(stopped.cut, 'the running stream ends whole')
  t.match(stopped.text, /one.*two.*DONE/s)
  t.ok([503, 'ECONNREFUSED', 'ECONNRESET'].includes(stopped.newcomer), `a newcomer: ${stopped.newcomer}`)
  t.equal(stopped.code, 0)
  t.strictSame(stopped.left, [], 'nothing of it runs on')
  t.equal(stopped.held, 0)
  t.ok(stopped.charged > 0, 'the stream is paid')
  t.ok(stopped.isExact)
}

interface Started {
  child: ChildProcess
  env: Record<string, string>
}

/** Starts `command` as the leader of a group of its own, as every supervisor and every shell does. */
async function checkOwnStop(
  t: Test,
  command: readonly string[],
  tell: (started: Started) => void,
): Promise<void> {
  let started: Started | undefined
  const stopped = await stopAmidStream(t, {
    start(env) {
      const [file = '', ...args] = command
      const child = spawn(file, args, { cwd: ROOT, env, detached: true, stdio: 'ignore' })
      started = { child, env }
    },
    async stop() {
      if (!started) throw new Error('it was never started')
      const ended = once(started.child, 'exit')
      tell(started)
      return (await ended)[0]
    },
  })
  checkStop(t, stopped)
}

const NPM = ['npm', 'start']
const toGroup =
  (signal: NodeJS.Signals) =>
  ({ child }: Started) =>
    void process.kill(-(child.pid ?? 0), signal)
const toEach =
  (signal: NodeJS.Signals) =>
  ({ env }: Started) => {
    for (const { pid } of processesOf(`GW_MARK=${env.GW_MARK}`)) process.kill(pid, signal)
  }
const toLeader =
  (signal: NodeJS.Signals) =>
  ({ child }: Started) =>
    void child.kill(signal)

t.test('SIGTERM to npm reaches the server, which drains', (t) => checkOwnStop(t, NPM, toLeader('SIGTERM')))

t.test('Ctrl+C reaches npm and the server at once, and is one order', (t) =>
  checkOwnStop(t, NPM, toGroup('SIGINT')),
)

t.test('systemd: SIGTERM to every process of the group at once', (t) =>
  checkOwnStop(t, NPM, toEach('SIGTERM')),
)

t.test('a supervisor that says it twice within a second is no reason to hurry', (t) =>
  checkOwnStop(t, NPM, (started) => {
    toEach('SIGTERM')(started)
    setTimeout(() => toEach('SIGTERM')(started), 900)
  }),
)

t.test('an older Node hands every signal on to the one that npm ci brought', (t) =>
  checkOwnStop(t, [systemNode(), 'src/server.js'], toLeader('SIGTERM')),
)

t.test('npm that is killed takes the server along, which drains', async (t) => {
  let [pid, mark] = [0, '']
  const stopped = await stopAmidStream(t, {
    start(env) {
      const child = spawn('npm', ['start'], { cwd: ROOT, env, detached: true, stdio: 'ignore' })
      pid = child.pid ?? 0
      mark = `GW_MARK=${env.GW_MARK}`
    },
    async stop() {
      process.kill(pid, 'SIGKILL')
      // Nobody is left to say how it ended.
      await eventually('the server to end', () => (processesOf(mark).length === 0 ? true : undefined))
      return 0
    },
  })
  checkStop(t, stopped)
})

t.test('the systemd unit: its command ends by the signal and within the time that it names', async (t) => {
  const unit = readDeployed('systemd/llm-api-gateway.service')
  const [, command = ''] = /^ExecStart=(.*)$/m.exec(unit) ?? []
  t.match(unit, /^KillMode=mixed$/m)
  t.match(unit, /^TimeoutStopSec=45$/m)
  t.match(unit, /^RestartPreventExitStatus=78$/m)
  await checkOwnStop(t, command.split(' '), toLeader('SIGTERM'))
})

t.test(
  'systemd finds no mistake in the unit',
  { skip: needs('systemd-analyze', 'apt-get install systemd') },
  async (t) => {
    const path = join(temporaryFolder(t), 'llm-api-gateway.service')
    const user = /^User=.*$/m
    writeFileSync(path, readDeployed('systemd/llm-api-gateway.service').replace(user, 'User=root'))
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', path], {
      encoding: 'utf8',
    })
    t.equal(status, 0, stderr)
    t.notMatch(stderr, 'llm-api-gateway.service')
  },
)

/** A real supervisord with this program. */
async function checkSupervisord(t: Test, program: string): Promise<void> {
  const folder = temporaryFolder(t)
  const conf = join(folder, 'supervisord.conf')
  const log = join(folder, 'supervisord.log')
  const logs = program.replace('/var/log/supervisor', folder)
  writeFileSync(join(folder, 'program.conf'), logs)
  writeFileSync(
    conf,
    `[supervisord]\nnodaemon=true\nuser=root\nlogfile=${log}\npidfile=${folder}/pid\n[unix_http_server]\nfile=${folder}/sock\n` +
      '[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n' +
      `[supervisorctl]\nserverurl=unix://${folder}/sock\n[include]\nfiles=program.conf\n`,
  )
  const stopped = await stopAmidStream(t, {
    async start(env) {
      const child = spawn('supervisord', ['-c', conf], { env, cwd: folder, stdio: 'ignore' })
      t.teardown(async () => {
        child.kill('SIGTERM')
        if (child.exitCode === null) await once(child, 'exit')
      })
    },
    async stop() {
      const stop = spawn('supervisorctl', ['-c', conf, 'stop', 'llm-api-gateway'], { env: bareEnv() })
      await once(stop, 'exit')
      const said = /stopped: llm-api-gateway \((.*)\)/.exec(readFileSync(log, 'utf8'))?.[1]
      return said === 'exit status 0' ? 0 : Number.NaN
    },
  })
  const own = stopped.left.filter((line) => !line.includes('supervisord'))
  checkStop(t, { ...stopped, left: own })
}

const supervisord = { skip: needs('supervisord', 'apt-get install supervisor') }
const program = readDeployed('supervisord.conf')
const underNpm = program.replace(/^command=.*$/m, 'command=npm start')

t.test('supervisord: the file of deploy/', supervisord, (t) => checkSupervisord(t, program))
t.test('supervisord: npm start', supervisord, (t) => checkSupervisord(t, underNpm))
t.test('supervisord: npm start, and the whole group is told', supervisord, (t) =>
  checkSupervisord(t, `${underNpm}\nstopasgroup=true\n`),
)

/** A real pm2 with a daemon of its own. */
async function checkPm2(t: Test, args: readonly string[]): Promise<void> {
  const home = temporaryFolder(t)
  mkdirSync(join(home, 'logs'))
  const pm2 = async (env: Record<string, string>, ...words: string[]) => {
    const child = spawn('pm2', words, { env: { ...env, PM2_HOME: home }, cwd: ROOT, stdio: 'ignore' })
    return (await once(child, 'exit'))[0]
  }
  t.teardown(() => pm2(bareEnv(), 'kill'))
  const stopped = await stopAmidStream(t, {
    start: async (env) => t.equal(await pm2(env, ...args), 0),
    async stop() {
      await pm2(bareEnv(), 'stop', 'llm-api-gateway')
      const log = readFileSync(join(home, 'pm2.log'), 'utf8')
      return Number(/exited with code \[(\d+)\]/.exec(log)?.[1])
    },
  })
  const own = stopped.left.filter((line) => !/pm2/i.test(line))
  checkStop(t, { ...stopped, left: own })
}

const pm2 = { skip: needs('pm2', 'npm install -g pm2') }

t.test('pm2: the file of deploy/', pm2, (t) => checkPm2(t, ['start', 'deploy/ecosystem.config.cjs']))
t.test('pm2: npm start with a --kill-timeout', pm2, (t) =>
  checkPm2(t, ['start', 'npm', '--name', 'llm-api-gateway', '--kill-timeout', '45000', '--', 'start']),
)
