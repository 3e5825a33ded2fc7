import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { openStores } from '../../src/stores/open.ts'
import { newToken, usageOf } from '../contract/token-store.ts'

const CYCLES = 20
const WRITER = join(import.meta.dirname, 'writer.ts')

async function folder(test: { teardown(close: () => unknown): unknown }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gateway-crash-'))
  test.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Lets a writer work until it has said `lines` lines, kills it there, and returns all that it said. */
async function killedWriter(dbDir: string, lines: number): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, dbDir], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
    if (said.split('\n').length > lines) child.kill('SIGKILL')
  })
  await once(child, 'close')
  // The last piece may be a line cut in two.
  return said.split('\n').slice(0, -1)
}

t.test(`after ${CYCLES} kill -9 all that was acknowledged is there, and no hold is left`, async (test) => {
  const dbDir = await folder(test)
  const minted = new Set<string>()
  const charges = new Map<string, number>()
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    for (const line of await killedWriter(dbDir, 20 + cycle * 15)) {
      const [what, id = ''] = line.split(' ')
      if (what === 'minted') minted.add(id)
      if (what === 'charged') charges.set(id, (charges.get(id) ?? 0) + 3)
    }
  }
  const { tokens } = await openStores({ dbDir })
  const known = new Set((await tokens.list()).map(({ id }) => id))
  test.ok(minted.size >= CYCLES && charges.size > 0, `${minted.size} minted, ${charges.size} charged`)
  for (const id of minted) if (!known.has(id)) test.fail(`${id} was acknowledged and is gone`)
  for (const id of known) {
    const { creditedMicros, balanceMicros, heldMicros, chargedMicros } = await tokens.credits(id)
    if (chargedMicros < (charges.get(id) ?? 0)) test.fail(`${id}: a charge was acknowledged and is gone`)
    if (heldMicros !== 0 || creditedMicros !== balanceMicros + chargedMicros)
      test.fail(`${id}: the books are wrong`)
  }
  await tokens.close()
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  test.teardown(() => db.close())
  test.same({ ...db.prepare('PRAGMA integrity_check').get() }, { integrity_check: 'ok' })
  test.equal(db.prepare('SELECT count(*) AS n FROM holds').get()?.n, 0)
  const twice = 'SELECT count(*) - count(DISTINCT request_id) AS n FROM usage'
  test.equal(db.prepare(twice).get()?.n, 0, 'no request is charged twice')
  const [sums, accounts] = [
    'SELECT sum(charged_micros) AS n FROM usage',
    'SELECT sum(charged_micros) AS n FROM accounts',
  ]
  test.equal(db.prepare(sums ?? '').get()?.n, db.prepare(accounts ?? '').get()?.n, 'every charge has its row')
  test.notOk(readdirSync(dbDir).some((name) => name.includes('tmp')))
})

/** Lets files of this process grow to so many bytes: writes beyond fail as on a full disk, cut short first. */
function limitFiles(bytes: number | 'unlimited'): boolean {
  try {
    execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

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
  const ask = () => tokens.hold({ tokenId: id, requestId: randomUUID(), micros: 100, leastMicros: 100 })
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
