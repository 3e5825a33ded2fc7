import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { waitUntil } from '../support/journey.ts'
import { bareEnv } from '../support/process.ts'
import { serviceRowOf } from '../support/service-rows.ts'
import { usageRowsIn } from './folders.ts'

async function folder(test: { teardown(close: () => unknown): unknown }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gateway-crash-'))
  test.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Lets files of this process grow to so many bytes: writes beyond fail as on a full disk, cut short first. */
function limitFiles(bytes: number | 'unlimited'): boolean {
  try {
    execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

t.test('on a full disk no hold is raised, and what is held stays', async (test) => {
  const ignore = () => undefined
  process.on('SIGXFSZ', ignore)
  test.teardown(() => {
    limitFiles('unlimited')
    process.off('SIGXFSZ', ignore)
  })
  if (!limitFiles('unlimited'))
    return test.comment('left out: needs the command prlimit (package util-linux)')
  const { tokens } = await openStores({ dbDir: await folder(test) })
  test.teardown(() => tokens.close())
  const { id } = await tokens.mint(newToken(1000))
  const ask = () => tokens.hold({ accounts: [id], requestId: randomUUID(), micros: 100, leastMicros: 100 })
  const [ending, running] = [await ask(), await ask()]
  limitFiles(300)
  const settling = tokens.settle(ending?.id ?? 0, usageOf(id, 60))
  await new Promise(setImmediate)
  test.notOk(tokens.isReady())
  await test.rejects(tokens.raise(running?.id ?? 0, 300), { code: 'store_unavailable', statusCode: 503 })
  test.match(await tokens.credits(id), { balanceMicros: 840, heldMicros: 100 })
  limitFiles('unlimited')
  await settling
  test.match(await tokens.raise(running?.id ?? 0, 300), { micros: 300, balanceMicros: 640 })
})

t.test('a full disk turns new requests away, loses nothing, and needs no restart', async (test) => {
  const ignore = () => undefined
  process.on('SIGXFSZ', ignore)
  test.teardown(() => {
    limitFiles('unlimited')
    process.off('SIGXFSZ', ignore)
  })
  if (!limitFiles('unlimited'))
    return test.comment('left out: needs the command prlimit (package util-linux)')
  const dbDir = await folder(test)
  const { tokens } = await openStores({ dbDir })
  test.teardown(() => tokens.close())
  const { id } = await tokens.mint(newToken(1000))
  const ask = () => tokens.hold({ accounts: [id], requestId: randomUUID(), micros: 100, leastMicros: 100 })
  const running = await ask()

  limitFiles(300)
  const settling = tokens.settle(running?.id ?? 0, usageOf(id, 60))
  // The commit of this turn is the one that fails.
  await new Promise(setImmediate)
  test.notOk(tokens.isReady())
  await test.rejects(ask(), { code: 'store_unavailable', statusCode: 503 })
  await test.rejects(tokens.mint(newToken(5, { user: 'halved' })), { code: 'store_unavailable' })
  test.equal((await tokens.list()).length, 1, 'nothing is half-minted')
  test.match(await tokens.credits(id), { balanceMicros: 940, heldMicros: 0, chargedMicros: 60 })

  limitFiles('unlimited')
  test.same(
    await settling,
    { chargedMicros: 60, balanceMicros: 940 },
    'the charge is written once there is room',
  )
  test.ok(tokens.isReady())
  test.match(await ask(), { micros: 100 })
  test.match(await tokens.mint(newToken(5, { user: 'whole' })), { user: 'whole' })
  await tokens.close()
  const again = (await openStores({ dbDir })).tokens
  test.teardown(() => again.close())
  test.match(await again.credits(id), { balanceMicros: 940, heldMicros: 0, chargedMicros: 60 })
  test.same(
    (await again.list()).map(({ user }) => user),
    ['ann', 'whole'],
  )
})

t.test('on a full disk rows of services wait, and are all there once there is room', async (test) => {
  const ignore = () => undefined
  process.on('SIGXFSZ', ignore)
  test.teardown(() => {
    limitFiles('unlimited')
    process.off('SIGXFSZ', ignore)
  })
  if (!limitFiles('unlimited'))
    return test.comment('left out: needs the command prlimit (package util-linux)')
  const dbDir = await folder(test)
  const { tokens } = await openStores({ dbDir })
  test.teardown(() => tokens.close())
  const { id } = await tokens.mint(newToken(1000))
  const waiting = async () => (await tokens.sizes()).serviceRows.waiting
  limitFiles(300)
  for (let n = 0; n < 1_000; n++) tokens.note(serviceRowOf(`req_${n}`, { tokenId: id }))
  test.equal(await waiting(), 1_000)
  test.ok(tokens.isReady(), 'what nobody pays for turns nobody away')
  limitFiles('unlimited')
  await waitUntil(waiting, (count) => count === 0)
  const ids = usageRowsIn(dbDir).map(({ request_id: requestId }) => requestId)
  test.equal(ids.length, 1_000)
  test.equal(new Set(ids).size, 1_000)
})

t.test('a killed process loses rows of services of its last second alone', async (test) => {
  const dbDir = await folder(test)
  const script = join(import.meta.dirname, '..', 'torture', 'row-writer.ts')
  const child = spawn(process.execPath, [script, dbDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: bareEnv(),
  })
  test.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  await waitUntil(
    () => said.split('\n').length,
    (lines) => lines > 240,
  )
  const killedAt = Date.now()
  child.kill('SIGKILL')
  await once(child, 'close')
  const noted = said
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { requestId: string; at: number })
  const stores = await openStores({ dbDir })
  test.teardown(() => stores.close())
  const found = usageRowsIn(dbDir).map(({ request_id: requestId }) => String(requestId))
  test.equal(new Set(found).size, found.length, 'none twice')
  const old = noted.filter(({ at }) => at < killedAt - 1_000)
  test.ok(old.length > 0)
  const lost = old.filter(({ requestId }) => !found.includes(requestId))
  test.same(lost, [])
})
