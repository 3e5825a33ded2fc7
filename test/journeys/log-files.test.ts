import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { get } from '../support/client.ts'
import { startGateway, type TestGateway, temporaryFolder } from '../support/gateway.ts'
import type { Owner } from '../support/waiting.ts'

const today = () => new Date().toISOString().slice(0, 10)
const start = (t: Owner, logDir: string): Promise<TestGateway> =>
  startGateway(t, { logDir, env: { UNAUTHENTICATED_PER_MINUTE: '1000000' } })
const filesIn = (dir: string) => readdirSync(dir).filter((name) => name.startsWith('server.'))
/** The request's one line, by the id that its client chose. */
const lineOf = (gateway: TestGateway, id: string) =>
  gateway.waitForLine(({ msg, requestId }) => msg === 'request' && requestId === id)

let calls = 0

/** Sends one request after the other until `isDone` likes what came of one. */
async function callUntil(gateway: TestGateway, isDone: (id: string) => boolean): Promise<boolean> {
  const deadline = Date.now() + 9000
  while (Date.now() < deadline) {
    const id = `call-${calls++}.`
    await get(gateway, '/v1/models', { 'x-request-id': id })
    await lineOf(gateway, id)
    if (isDone(id)) return true
  }
  return false
}

const reachesFile = (gateway: TestGateway, dir: string) =>
  callUntil(
    gateway,
    (id) =>
      existsSync(dir) && filesIn(dir).some((name) => readFileSync(join(dir, name), 'utf8').includes(id)),
  )

const losesFile = (gateway: TestGateway) =>
  callUntil(gateway, () => gateway.lines().some(({ msg }) => msg.startsWith('log files cannot be written')))

t.test('files that are deleted or replaced come back while the process serves', async (t) => {
  const logDir = join(temporaryFolder(t), 'logs')
  const gateway = await start(t, logDir)
  t.ok(await reachesFile(gateway, logDir))
  rmSync(logDir, { recursive: true })
  t.ok(await reachesFile(gateway, logDir), 'deleted')
  renameSync(logDir, `${logDir}.away`)
  writeFileSync(logDir, 'a file where the folder was')
  t.ok(await losesFile(gateway), 'the operator is told')
  rmSync(logDir)
  t.ok(await reachesFile(gateway, logDir), 'replaced')
  t.equal((await gateway.stop()).code, 0)
})

t.test('a damaged record of the rotation does not keep the server from starting', async (t) => {
  const logDir = join(temporaryFolder(t), 'logs')
  const first = await start(t, logDir)
  t.ok(await reachesFile(first, logDir))
  await first.stop()
  const records = readdirSync(logDir).filter((name) => !name.startsWith('server.'))
  t.ok(records.length > 0)
  for (const name of records) writeFileSync(join(logDir, name), '{"files":[{]')
  const second = await start(t, logDir)
  t.ok(await reachesFile(second, logDir))
  t.strictSame(filesIn(logDir), [`server.${today()}.1.log`])
})

t.test('a folder that cannot be made leaves the log on stdout', async (t) => {
  const file = join(temporaryFolder(t), 'a-file')
  writeFileSync(file, '')
  const gateway = await start(t, join(file, 'logs'))
  t.ok(await losesFile(gateway))
})

/** A disk of 256 kB, where this user may mount one. */
function mountSmall(): string | undefined {
  const folder = temporaryFolder(t)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder], { stdio: 'ignore' })
  if (mounted.status !== 0) return undefined
  t.teardown(() => spawnSync('umount', ['-l', folder]))
  return folder
}

const disk = mountSmall()
const skip = disk === undefined && 'this needs the right to mount a tmpfs'

t.test('a full disk costs log lines in files, never an answer', { skip }, async (t) => {
  const folder = disk ?? ''
  const logDir = join(folder, 'logs')
  const gateway = await start(t, logDir)
  t.ok(await reachesFile(gateway, logDir))
  const filler = join(folder, 'filler')
  const fill = () => {
    for (;;) writeFileSync(filler, Buffer.alloc(4096), { flag: 'a' })
  }
  t.throws(fill, { code: 'ENOSPC' })
  t.ok(await losesFile(gateway), 'requests are answered, stdout has their lines')
  rmSync(filler)
  t.ok(await reachesFile(gateway, logDir), 'files again')
})
