import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { bearer, get, openStream, post } from '../support/client.ts'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { bareEnv, type Exit, runProcess, startProcess } from '../support/process.ts'
import { ask, openScene } from '../support/scene.ts'
import { controlled } from '../support/stream-behaviours.ts'
import type { Owner } from '../support/waiting.ts'

const SCRIPTS = join(import.meta.dirname, '..', '..', 'scripts')
const BESIDE = ['.env', 'models.yaml', 'edge/dashboard-users', 'edge/certificates/own.key']
const CHAT = '/v1/chat/completions'

/** A command in its shell script, as an operator calls it; `NODE` of the tests comes first in the PATH. */
const call = (t: Owner, script: string, args: readonly string[], cwd: string, env = {}): Promise<Exit> =>
  runProcess(t, { command: 'sh', args: [join(SCRIPTS, script), ...args], cwd, env: { ...bareEnv(), ...env } })

const backUp = (t: Owner, cwd: string, ...args: string[]) => call(t, 'backup.sh', args, cwd)
const restore = (t: Owner, cwd: string, ...args: string[]) => call(t, 'restore.sh', args, cwd)

/** A gateway in a folder of its own, as one who cloned it has it: `.env`, `src/db`. */
async function openDeployment(t: Test) {
  const { provider, path, options } = await openScene(t)
  const cwd = temporaryFolder(t, 'gw-deployed-')
  const dbDir = join(cwd, 'src', 'db')
  writeFileSync(join(cwd, '.env'), `MODELS_FILE=models.yaml\nADMIN_FIRST=master-of-this-test-0123\n`)
  cpSync(path, join(cwd, 'models.yaml'))
  const start = () => startGateway(t, { cwd, dbDir, env: { ...options.env, ADMIN_FIRST: '' } })
  return { provider, cwd, dbDir, start, gateway: await start() }
}

const creditsOf = async (gateway: { port: number }, token: string) =>
  (await get(gateway, '/v1/token', bearer(token))).json().credits

t.test('under load nobody notices a backup, and what comes back is whole', async (t) => {
  const { provider, cwd, start, gateway } = await openDeployment(t)
  const token = await mintToken(t, gateway)
  const withKey = { ...bearer(token), 'idempotency-key': 'kept' }
  const kept = await post(gateway, CHAT, ask(false), withKey)
  const slow = controlled()
  provider.queue(slow)
  const opening = openStream(gateway, { path: CHAT, headers: bearer(token), body: ask(true) })
  await slow.opened
  await slow.write('data: {"choices":[{"index":0,"delta":{"content":"some words"}}]}\n\n')
  const stream = await opening
  const statuses: number[] = []
  let isOver = false
  const load = Array.from({ length: 8 }, async () => {
    for (; !isOver; await setImmediate())
      statuses.push((await post(gateway, CHAT, ask(false), bearer(token))).status)
  })
  const minting = (async () => {
    for (let n = 0; !isOver; n++) await mintToken(t, gateway, { user: `late-${n}`, credits: 5 })
  })()
  const made = await backUp(t, cwd)
  isOver = true
  await Promise.all([...load, minting])
  t.equal(made.code, 0, made.stderr)
  t.ok(statuses.length > 50, `${statuses.length} meanwhile`)
  t.same([...new Set(statuses)], [200], 'nobody was refused')
  const file = made.stdout.trim()
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.match(await restore(t, cwd, '--check', file), { code: 0, stdout: /^whole: \d+ tokens as of / })

  const refused = await restore(t, cwd, file)
  t.match(refused, { code: 1, stderr: /Another server uses DB_DIR/ })
  t.equal((await creditsOf(gateway, token)).credited, 1_000_000, 'nothing has changed for the one that runs')
  stream.abort()
  const after = await creditsOf(gateway, token)
  await gateway.stop()

  const restored = await restore(t, cwd, file)
  t.equal(restored.code, 0, restored.stderr)
  t.match(restored.stdout, /Set aside: .*src\/db\.before-/)
  t.match(restored.stdout, /Now: npm start/)
  const again = await start()
  const check = await runProcess(t, { args: [join(SCRIPTS, 'ledger-check.js')], cwd, env: bareEnv() })
  t.match(check, { code: 0, stdout: /credited = balance \+ held \+ charged/ })
  const credits = await creditsOf(again, token)
  t.ok(credits.charged > 0 && credits.charged <= after.charged + 50, 'as of that moment')
  t.equal(credits.held, 0, 'the stream of that moment is settled')
  const asked = provider.requests.length
  t.equal((await post(again, CHAT, ask(false), withKey)).text, kept.text)
  t.equal(provider.requests.length, asked, 'an answer that was kept is kept')
})

t.test(
  'what is read back is what was packed: a byte, a cut, a stranger, a way out are refused',
  async (t) => {
    const { cwd, gateway } = await openDeployment(t)
    await gateway.stop()
    const file = (await backUp(t, cwd)).stdout.trim()
    const scratch = temporaryFolder(t)
    const unpacked = join(scratch, 'unpacked')
    mkdirSync(unpacked)
    spawnSync('tar', ['-xzf', file, '-C', unpacked])
    const repack = (name: string, change: (folder: string) => void, ...packing: string[]): string => {
      const folder = join(scratch, name)
      cpSync(unpacked, folder, { recursive: true })
      change(folder)
      const packed = join(scratch, `${name}.tar.gz`)
      const all = [...packing, '.env', 'backup.json', 'named-files', 'src']
      spawnSync('tar', ['-czPf', packed, ...all], { cwd: folder })
      return packed
    }
    const asItWas = repack('as-it-was', () => undefined)
    t.equal((await restore(t, cwd, '--check', asItWas)).code, 0, 'what others pack alike is taken')
    const isRefused = async (name: string, change: (folder: string) => void, ...packing: string[]) => {
      const packed = repack(name, change, ...packing)
      for (const flags of [['--check'], []]) {
        const { code, stderr } = await restore(t, cwd, ...flags, packed)
        t.equal(code, 1, name)
        t.match(stderr, /is no whole backup: /, `${name}: ${stderr.trim()}`)
      }
    }
    await isRefused('a-byte', (folder) => writeFileSync(join(folder, '.env'), 'MODELS_FILE=other.yaml\n'))
    await isRefused('a-stranger', (folder) => writeFileSync(join(folder, 'src', 'server.js'), 'x'))
    await isRefused('one-more', (folder) => writeFileSync(join(folder, 'src', 'db', 'more.json'), 'x'))
    await isRefused('a-way-out', (folder) => writeFileSync(join(folder, '..', 'evil'), 'x'), '../evil')
    await isRefused('a-link', (folder) => symlinkSync('/etc/hostname', join(folder, 'src', 'db', 'link')))
    await isRefused('a-setting-that-leads-out', (folder) => {
      const path = join(folder, 'backup.json')
      const manifest = JSON.parse(readFileSync(path, 'utf8'))
      const named = [{ setting: '../.env', path: '/elsewhere/settings' }]
      writeFileSync(path, JSON.stringify({ ...manifest, named }))
    })
    const cut = join(scratch, 'cut.tar.gz')
    cpSync(file, cut)
    truncateSync(cut, Math.floor(statSync(file).size / 2))
    t.match(await restore(t, cwd, '--check', cut), { code: 1, stderr: /is no whole backup/ })
    t.same(
      readdirSync(cwd).filter((name) => name.includes('before-') || name.startsWith('.backup')),
      [],
      'and nothing was touched or left behind',
    )
    t.match(await restore(t, cwd, '--chekc', file), { code: 2 })
    t.match(await restore(t, cwd, 'nowhere.tar.gz'), { code: 1, stderr: /is not there/ })
  },
)

t.test('settings, the files they name, certificates and the password come back too', async (t) => {
  const { cwd, gateway } = await openDeployment(t)
  await gateway.stop()
  const elsewhere = join(temporaryFolder(t), 'key')
  writeFileSync(elsewhere, 'sk-of-a-file')
  const settings = readFileSync(join(cwd, '.env'), 'utf8')
  writeFileSync(join(cwd, '.env'), `${settings}MAIN_TEST_KEY_FILE=${elsewhere}\n`)
  mkdirSync(join(cwd, 'letsencrypt'))
  mkdirSync(join(cwd, 'edge'))
  writeFileSync(join(cwd, 'edge', 'dashboard-users'), 'admin:$2b$10$hash\n')
  mkdirSync(join(cwd, 'edge', 'certificates'))
  writeFileSync(join(cwd, 'edge', 'certificates', 'own.key'), 'a key of the operator')
  const acme = join(cwd, 'letsencrypt', 'acme.json')
  // As Traefik does: over the file as it stands, in pieces.
  const rewriting = startProcess(t, {
    args: [
      '-e',
      `const { openSync, ftruncateSync, writeSync } = require('node:fs')
       const text = JSON.stringify({ letsencrypt: { Certificates: Array(2000).fill('c'.repeat(40)) } })
       console.log('begun')
       setInterval(() => {
         const fd = openSync(process.argv[1], 'w')
         for (let at = 0; at < text.length; at += 1000) writeSync(fd, text.slice(at, at + 1000))
         require('node:fs').closeSync(fd)
       }, 20)`,
      acme,
    ],
    cwd,
    env: bareEnv(),
  })
  await new Promise<void>((resolve) => rewriting.onChange(() => resolve()))
  for (let n = 0; n < 5; n++) {
    const { code, stderr } = await backUp(t, cwd, '--keep', '2')
    t.equal(code, 0, stderr)
  }
  rewriting.child.kill()
  const [, last = ''] = readdirSync(join(cwd, 'backups')).sort()
  t.equal(readdirSync(join(cwd, 'backups')).length, 2, 'the oldest are gone')
  const fresh = temporaryFolder(t, 'gw-fresh-')
  mkdirSync(join(fresh, 'src', 'db'), { recursive: true })
  const { code, stdout, stderr } = await restore(t, fresh, join(cwd, 'backups', last))
  t.equal(code, 0, stderr)
  for (const path of [...BESIDE, 'src/db/tokens.json']) {
    t.equal(readFileSync(join(fresh, path), 'utf8'), readFileSync(join(cwd, path), 'utf8'), path)
    t.equal(statSync(join(fresh, path)).mode & 0o777, 0o600, path)
  }
  const certificates = JSON.parse(readFileSync(join(fresh, 'letsencrypt', 'acme.json'), 'utf8'))
  t.equal(certificates.letsencrypt.Certificates.length, 2000)
  t.match(stdout, `MAIN_TEST_KEY_FILE names ${elsewhere}: put ${fresh}/named-files/MAIN_TEST_KEY_FILE there`)
  t.equal(readFileSync(join(fresh, 'named-files', 'MAIN_TEST_KEY_FILE'), 'utf8'), 'sk-of-a-file')
  t.notMatch(`${stdout}${stderr}`, 'sk-of-a-file')
})

t.test('killed in the middle it leaves no backup that is half one, and the next is whole', async (t) => {
  const { cwd, dbDir, gateway } = await openDeployment(t)
  await gateway.stop()
  // Something to be busy with: what cannot be packed small.
  writeFileSync(join(dbDir, 'large.bin'), Buffer.from(crypto.getRandomValues(new Uint8Array(65_000))), {
    flag: 'a',
  })
  for (let n = 0; n < 300; n++)
    writeFileSync(join(dbDir, 'large.bin'), crypto.getRandomValues(new Uint8Array(65_000)), { flag: 'a' })
  const shelf = join(cwd, 'backups')
  const whole = () => readdirSync(shelf).filter((name) => name.startsWith('backup-'))
  for (const [signal, afterMs] of [
    ['SIGKILL', 150],
    ['SIGTERM', 200],
    ['SIGKILL', 250],
    ['SIGINT', 300],
    ['SIGKILL', 350],
  ] as const) {
    const { child, exited } = startProcess(t, { args: [join(SCRIPTS, 'backup.js')], cwd, env: bareEnv() })
    setTimeout(() => child.kill(signal), afterMs)
    const { code } = await exited
    if (code === 0) continue
    // One that had not begun is ended by the signal itself.
    t.ok(code === null || code === 1, `${signal}: ${code}`)
  }
  for (const name of existsSync(shelf) ? whole() : [])
    t.match(await restore(t, cwd, '--check', join(shelf, name)), { code: 0 }, name)
  const last = await backUp(t, cwd, '--keep', '1')
  t.equal(last.code, 0, last.stderr)
  t.same(
    whole().map((name) => join(shelf, name)),
    [last.stdout.trim()],
  )
})

t.test('where there is no store it says so, and wrong flags are exit code 2', async (t) => {
  const cwd = temporaryFolder(t)
  writeFileSync(join(cwd, '.env'), '')
  t.match(await backUp(t, cwd), { code: 1, stderr: /holds no store/ })
  t.match(await backUp(t, cwd, '--keep', '0'), { code: 2 })
})

t.test('what links lead to is restored where it lies, and the links stay', async (t) => {
  const { cwd, dbDir, gateway, start } = await openDeployment(t)
  const token = await mintToken(t, gateway)
  await gateway.stop()
  const elsewhere = temporaryFolder(t)
  for (const [path, name] of [
    [dbDir, 'db'],
    [join(cwd, '.env'), 'settings'],
  ] as const) {
    renameSync(path, join(elsewhere, name))
    symlinkSync(join(elsewhere, name), path)
  }
  const file = (await backUp(t, cwd)).stdout.trim()
  const { code, stdout, stderr } = await restore(t, cwd, file)
  t.equal(code, 0, stderr)
  t.ok(lstatSync(dbDir).isSymbolicLink())
  t.ok(lstatSync(join(cwd, '.env')).isSymbolicLink())
  t.ok(stdout.includes(`Set aside: ${join(realpathSync(elsewhere), 'db.before-')}`), stdout)
  t.ok(readdirSync(join(elsewhere, 'db')).includes('tokens.json'))
  t.match(readFileSync(join(elsewhere, 'settings'), 'utf8'), /^MODELS_FILE=/)
  t.equal((await creditsOf(await start(), token)).held, 0)
})
