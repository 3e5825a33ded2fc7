import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stopAmidStream } from '../support/supervised.ts'
import { clone, untilHealthy } from './support/deployment.ts'
import { nodeImage, pinnedImage, whyNoEngine } from './support/engine.ts'
import { output, run, shell } from './support/shell.ts'

const TAG = 'gateway-edge-test-image'
/** Planted where an image must not pick it up. */
const SECRET = 'planted-secret-of-the-operator'

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('the image', testImage)

async function testImage(t: Test) {
  const image = await nodeImage()
  const args = image === undefined ? '' : `--build-arg NODE_IMAGE=${image}`
  const folder = await clone(t)
  plant(folder)
  // As under umask 077: nobody but the one who cloned may read anything.
  await shell('chmod -R go= .', { cwd: folder })
  t.teardown(() => run('docker', ['rmi', '-f', TAG, `${TAG}-buildkit`]))

  await t.test('the image builds with the old builder and with BuildKit', async (t) => {
    await shell(`docker build -q -t ${TAG} ${args} .`, { cwd: folder, env: { DOCKER_BUILDKIT: '0' } })
    const client = await buildKitClient()
    if (client === undefined) return t.comment('no Docker client with BuildKit here: not built with it')
    const build = `${client} build -q -t ${TAG}-buildkit ${args} .`
    await shell(build, { cwd: folder, env: { DOCKER_BUILDKIT: '1' } })
    t.equal(await inside('node -p 1+1', `${TAG}-buildkit`), '2')
  })

  await t.test('in the image is what the gateway runs on, and nothing else', async (t) => {
    t.same((await inside('ls -A')).split('\n'), ['node_modules', 'package.json', 'scripts', 'src'])
    t.equal(await inside(`grep -rl ${SECRET} / --exclude-dir=proc --exclude-dir=sys 2>/dev/null || true`), '')
    t.equal(
      await inside('ls -d node_modules/node-* node_modules/tap node_modules/.bin/node 2>/dev/null || true'),
      '',
    )
    t.equal(await inside('command -v node'), '/usr/local/bin/node')
    t.equal(await inside('id -u'), '1000')
    t.match(await inside('curl --version'), /^curl/)
    t.match(await inside('node scripts/token-gen.js --help'), '--userName')
    const { Healthcheck } = JSON.parse(await output('docker', ['inspect', '-f', '{{json .Config}}', TAG]))
    t.match(Healthcheck.Test.join(' '), '/health')
  })

  await t.test('a folder that the gateway may not write is one clear line, no stack', async (t) => {
    const closed = join(folder, 'closed')
    mkdirSync(closed)
    chmodSync(closed, 0o700)
    const { code, stdout, stderr } = await run('docker', ['run', '--rm', '-v', `${closed}:/app/src/db`, TAG])
    t.equal(code, 78, 'starting again would not help')
    const lines = (stdout + stderr).trim().split('\n')
    t.equal(lines.length, 1, lines.join('\n'))
    t.match(lines[0], /src\/db.*: (make DB_DIR writable|name a folder that this user may write)/)
  })

  await t.test('it starts from what the build has compiled, and its healthcheck knows the port', testStart)

  await t.test('docker stop lets a running stream end, and the exit is 0', (t) => testStop(t, []))
  await t.test('so it does where npm is the process that is told', (t) => testStop(t, ['npm', 'start']))

  await t.test('it is no larger than docs/production.md says', async (t) => {
    const guide = readFileSync(join(import.meta.dirname, '../../docs/production.md'), 'utf8')
    const [, mostMb = '', base = ''] = /image adds less than (\d+) MB to `([^`]+)`/.exec(guide) ?? []
    t.equal(base, pinnedImage())
    const sizes = await output('docker', ['image', 'inspect', '-f', '{{.Size}}', TAG, image ?? base])
    const [whole = 0, below = 0] = sizes.split('\n').map(Number)
    t.ok(whole - below < Number(mostMb) * 1e6, `${whole - below} bytes`)
  })
}

/** Read-only as in production, with Node's own account of its compile cache. */
async function testStart(t: Test) {
  const name = `${TAG}-start`
  const env = ['API_GATEWAY_PORT=9000', 'DB_DIR=/tmp/db', 'LOG_DIR=/tmp/logs']
  const debug = 'NODE_DEBUG_NATIVE=COMPILE_CACHE'
  const flags = [...env, debug].flatMap((value) => ['-e', value])
  t.teardown(() => run('docker', ['rm', '-f', name]))
  await output('docker', ['run', '-d', '--name', name, '--read-only', '--tmpfs', '/tmp', ...flags, TAG])
  await untilHealthy(name)
  const { stdout, stderr } = await run('docker', ['logs', name])
  const log = stdout + stderr
  t.match(log, '"port":9000')
  const accepted = log.match(/V8 code cache for ESM file:\/\/\/app\/src\/\S+ was accepted/g) ?? []
  t.ok(accepted.length > 50, `${accepted.length} files of ours were compiled before`)
  t.notMatch(log, 'was rejected')
}

/** On the host's own network, where the test's provider is, and on its folders. */
async function testStop(t: Test, command: readonly string[]) {
  const name = `${TAG}-stop`
  t.teardown(() => run('docker', ['rm', '-f', name]))
  const stopped = await stopAmidStream(t, {
    start: ({ PATH: _path, ...env }) => {
      const flags = Object.entries({ ...env, HOME: '/tmp' }).flatMap(([key, value]) => [
        '-e',
        `${key}=${value}`,
      ])
      const user = `${process.getuid?.()}:${process.getgid?.()}`
      const place = ['--network', 'host', '--user', user, '-v', `${tmpdir()}:${tmpdir()}`]
      return output('docker', ['run', '-d', '--name', name, ...place, ...flags, TAG, ...command])
    },
    stop: async () => {
      await output('docker', ['stop', '-t', '45', name])
      return Number(await output('docker', ['inspect', '-f', '{{.State.ExitCode}}', name]))
    },
  })
  t.match(stopped, { code: 0, cut: false, text: /one.*two.*DONE/s, left: [], held: 0, isExact: true })
  t.ok([503, 'ECONNREFUSED', 'ECONNRESET'].includes(stopped.newcomer), `a newcomer: ${stopped.newcomer}`)
}

function inside(line: string, image = TAG): Promise<string> {
  return output('docker', ['run', '--rm', image, 'sh', '-c', line])
}

function plant(folder: string): void {
  for (const path of ['.git', 'src/db', 'src/logs', 'letsencrypt', 'test', 'edge']) {
    mkdirSync(join(folder, path), { recursive: true })
    writeFileSync(join(folder, path, 'planted'), SECRET)
  }
  for (const path of ['.env', '.env.backup', 'src/.env', 'backup.tar.gz', 'acme.json', 'src/x.log'])
    writeFileSync(join(folder, path), SECRET)
}

/** A Docker client that has BuildKit in it or beside it. */
async function buildKitClient(): Promise<string | undefined> {
  for (const client of ['docker', '/usr/bin/docker']) {
    const version = await run(client, ['version', '--format', '{{.Client.Version}}'])
    const beside = (await run(client, ['buildx', 'version'])).code === 0
    if (version.code === 0 && (beside || Number.parseInt(version.stdout, 10) < 23)) return client
  }
  return undefined
}
