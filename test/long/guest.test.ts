import { once } from 'node:events'
import { statSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { lockFolder } from '../../src/stores/backup.ts'
import { openStores, readBooks, type Stores } from '../../src/stores/open.ts'
import { accountsContract } from '../contract/accounts.ts'
import { answerMarksContract } from '../contract/answer-marks.ts'
import { idempotencyContract } from '../contract/idempotency.ts'
import { placesContract } from '../contract/places.ts'
import { raisedHoldsContract } from '../contract/raised-holds.ts'
import { serviceRowsContract } from '../contract/service-rows.ts'
import { sharedAccountsContract } from '../contract/shared-accounts.ts'
import { tokenHistories } from '../contract/token-histories.ts'
import { newToken, usageOf } from '../contract/token-store.ts'
import { tokensContract } from '../contract/tokens.ts'
import { askOf, crashedCopy, folder, type Owner, usageRowsIn } from '../stores/folders.ts'
import { waitUntil } from '../support/journey.ts'
import { serviceRowOf } from '../support/service-rows.ts'

t.setTimeout(120_000)

/** A server that has the folder, or a guest of the one that has it. */
async function openServer(test: Owner, dbDir: string): Promise<Stores> {
  const stores = await openStores({ dbDir, takeOver: true })
  stores.folder?.onceOwned(() => void stores.folder?.letIn())
  await stores.folder?.letIn()
  test.teardown(() => stores.close())
  return stores
}

/** A guest, and after a restart of both servers another one. */
async function openGuest(test: Owner) {
  const dbDir = await folder(test)
  const openBoth = async (path: string) => {
    const owner = await openServer(test, path)
    const guest = await openServer(test, path)
    return { owner, guest }
  }
  let both = await openBoth(dbDir)
  const reopen = async () => {
    await both.guest.close()
    await both.owner.close()
    both = await openBoth(dbDir)
    return both.guest
  }
  const crash = async () => {
    const { guest } = await openBoth(crashedCopy(dbDir, join(dbDir, 'crashed')))
    // What a guest has stands so long for it to come back.
    await sleep(5_500)
    return guest
  }
  return { dbDir, stores: both.guest, reopen, crash }
}

/** A server that was a guest until the one before it ended, and after a restart its own successor. */
async function openSuccessor(test: Owner) {
  const dbDir = await folder(test)
  let last = await openServer(test, dbDir)
  const reopen = async () => {
    const next = await openServer(test, dbDir)
    await last.close()
    last = next
    return next
  }
  const stores = await reopen()
  const crash = () => openServer(test, crashedCopy(dbDir, join(dbDir, 'crashed')))
  return { dbDir, stores, reopen, crash }
}

for (const [name, open] of [
  ['a guest', openGuest],
  ['a successor', openSuccessor],
] as const) {
  const openStore = async (test: Owner) => {
    const { dbDir, stores, reopen } = await open(test)
    const store = stores.tokens
    const rows = async () => usageRowsIn(dbDir)
    return { store, reopen: async () => (await reopen()).tokens, books: () => readBooks({ dbDir }), rows }
  }
  tokensContract(name, openStore)
  serviceRowsContract(name, openStore)
  accountsContract(name, openStore)
  placesContract(name, openStore)
  answerMarksContract(name, openStore)
  raisedHoldsContract(name, openStore)
  sharedAccountsContract(name, openStore)
  tokenHistories(name, openStore, { runs: 20, steps: 40 })
  idempotencyContract(name, async (test) => {
    const { stores, reopen, crash } = await open(test)
    return { ...stores, reopen, crash }
  })
}

t.test(
  'a folder of 2,000 tokens and 50,000 kept answers changes hands within half a second',
  async (test) => {
    const dbDir = await folder(test)
    const full = await openStores({ dbDir })
    const tokens = await Promise.all(Array.from({ length: 2_000 }, () => full.tokens.mint(newToken(1_000))))
    await full.close()
    const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
    const insert = db.prepare(
      `INSERT INTO claims VALUES (?, ?, 'f 1', ?, ?, 1, 200, '{}', ?, NULL, NULL, 1502)`,
    )
    const body = Buffer.alloc(1_500, 'x')
    db.exec('BEGIN')
    for (let n = 0; n < 50_000; n += 1)
      insert.run(
        tokens[n % tokens.length]?.id ?? '',
        Buffer.from(`key ${n}`),
        `req_${n}`,
        Date.now() - n,
        body,
      )
    db.exec('COMMIT')
    db.close()
    let last = await openServer(test, dbDir)
    const change = async (hash: string): Promise<number> => {
      const [first, next] = [last, await openServer(test, dbDir)]
      last = next
      const from = performance.now()
      const [found] = await Promise.all([next.tokens.find(hash), first.close()])
      test.equal(found?.hash, hash)
      await new Promise<void>((owned) => next.folder?.onceOwned(owned))
      return performance.now() - from
    }
    const all: number[] = []
    for (const token of tokens.slice(0, 3)) all.push(await change(token.hash))
    // A machine that is busy elsewhere says nothing about it.
    const tookMs = Math.min(...all)
    test.comment(`${Math.round(tookMs)} ms`)
    test.ok(tookMs < 500, `${tookMs} ms`)
  },
)

t.test("the socket is its owner's alone, and who speaks another version is told so", async (test) => {
  const dbDir = await folder(test)
  await openServer(test, dbDir)
  const path = join(dbDir, 'guests.sock')
  test.equal(statSync(path).mode & 0o777, 0o600)
  const socket = connect(path)
  socket.write('[99,"somebody"]\n')
  const [answer] = await once(socket, 'data')
  test.match(String(answer), /refused.*version 1, not 99/)
  await once(socket, 'close')
  const stranger = connect(path)
  stranger.on('error', () => undefined)
  stranger.write('[1,"somebody"]\n[1,"constructor",[]]\n')
  stranger.resume()
  await once(stranger, 'close')
  const guest = await openServer(test, dbDir)
  test.same(await guest.tokens.list(), [], 'and others are served on')
})

t.test('a guest whose old connection ends after its next one began is there', async (test) => {
  const dbDir = await folder(test)
  const { tokens } = await openServer(test, dbDir)
  const { id } = await tokens.mint(newToken(1_000))
  const come = async (): Promise<Socket> => {
    const socket = connect(join(dbDir, 'guests.sock'))
    test.teardown(() => socket.destroy())
    socket.write('[1,"the guest"]\n')
    await once(socket, 'data')
    return socket
  }
  const old = await come()
  old.write(`${JSON.stringify([1, 'hold', [askOf(id, 100)]])}\n`)
  const [answer] = await once(old, 'data')
  const [, hold] = JSON.parse(String(answer))
  const next = await come()
  const belongings = { holds: [{ id: hold.id }], claims: [], places: [] }
  next.write(`${JSON.stringify([2, 'adopt', [belongings]])}\n`)
  await once(next, 'data')
  old.destroy()
  await sleep(5_500)
  test.equal((await tokens.credits(id)).heldMicros, 100, 'and has what it held')
  next.destroy()
  await sleep(5_500)
  test.equal((await tokens.credits(id)).heldMicros, 0, 'until it is gone for good')
})

t.test('a key that a guest runs is its own until it is here again, or given up', async (test) => {
  const dbDir = await folder(test)
  const { tokens, ...owner } = await openServer(test, dbDir)
  const { id } = await tokens.mint(newToken(1_000))
  const come = async () => {
    const socket = connect(join(dbDir, 'guests.sock'))
    test.teardown(() => socket.destroy())
    const ask = async (...line: unknown[]): Promise<unknown[]> => {
      socket.write(`${JSON.stringify(line)}\n`)
      return JSON.parse(String((await once(socket, 'data'))[0]))
    }
    await ask(1, 'the guest')
    return ask
  }
  const keyed = (key: string, requestId: string) => ({
    ...{ tokenId: id, key, requestId, fingerprint: 'a', bodyBytes: 1, at: Date.now() },
  })
  const first = await come()
  const begin = async (key: string) => {
    const request = keyed(key, `req_${key}`)
    const [, claim] = await first(1, 'claim', [request])
    const [, hold] = await first(2, 'hold', [{ ...askOf(id, 10), requestId: request.requestId }])
    return { request, claim, hold }
  }
  const [lost, kept] = [await begin('lost'), await begin('kept')]
  test.match([lost.claim, kept.claim], [{ state: 'claimed' }, { state: 'claimed' }])
  await owner.close()
  const next = await openServer(test, dbDir)
  const claim = (key: string) => next.idempotency.claim(keyed(key, 'another'))
  test.match([await claim('lost'), await claim('kept')], [{ state: 'running' }, { state: 'running' }])
  const second = await come()
  const { id: claimId } = Object(kept.claim)
  const mine = { holds: [{ id: Object(kept.hold).id }], claims: [{ id: claimId, request: kept.request }] }
  await second(3, 'adopt', [{ ...mine, places: [] }])
  test.match([await claim('kept'), await claim('lost')], [{ state: 'running' }, { state: 'claimed' }])
  await second(4, 'settle', [Object(kept.hold).id, usageOf(id, 10)])
  await second(5, 'finish', [claimId])
  test.match(await claim('kept'), { state: 'answered', requestId: 'req_kept' })
})

t.test('a successor says so where the server before it answers nobody', async (test) => {
  const dbDir = await folder(test)
  await (await openStores({ dbDir })).close()
  const lock = lockFolder(dbDir)
  const deaf = createServer(() => undefined)
  await once(deaf.listen(join(dbDir, 'guests.sock')), 'listening')
  test.teardown(() => {
    deaf.close()
    lock.release()
  })
  await test.rejects(openStores({ dbDir, takeOver: true }), { reason: 'locked', message: /does not answer/ })
})

t.test(
  'rows of services whose server died before it answered are asked of the next one, each once',
  async (test) => {
    const dbDir = await folder(test)
    await openServer(test, dbDir)
    const socket = connect(join(dbDir, 'guests.sock'))
    test.teardown(() => socket.destroy())
    const ask = async (...line: unknown[]): Promise<unknown[]> => {
      socket.write(`${JSON.stringify(line)}\n`)
      return JSON.parse(String((await once(socket, 'data'))[0]))
    }
    await ask(1, 'the guest')
    const rows = [serviceRowOf('a'), serviceRowOf('b')]
    await ask(1, 'noteRows', [rows])
    await ask(2, 'noteRowsAgain', [rows])
    await ask(3, 'noteRowsAgain', [[serviceRowOf('c')]])
    test.same(
      usageRowsIn(dbDir).map(({ request_id: requestId }) => requestId),
      ['a', 'b', 'c'],
    )
  },
)

t.test('a server of an earlier release is asked for no rows: they wait for the next one', async (test) => {
  const dbDir = await folder(test)
  await (await openStores({ dbDir })).close()
  const lock = lockFolder(dbDir)
  const asked: unknown[] = []
  const sockets = new Set<Socket>()
  const before = createServer((socket) => {
    sockets.add(socket)
    let isWelcome = false
    socket.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n').slice(0, -1)) {
        const [id, method] = JSON.parse(line)
        if (isWelcome) asked.push(method)
        const answer = isWelcome ? [id, method === 'isReady'] : ['welcome', 1]
        isWelcome = true
        socket.write(`${JSON.stringify(answer)}\n`)
      }
    })
  })
  await once(before.listen(join(dbDir, 'guests.sock')), 'listening')
  const guest = await openStores({ dbDir, takeOver: true })
  test.teardown(() => guest.close())
  for (let n = 0; n < 300; n++) guest.tokens.note(serviceRowOf(`req_${n}`))
  // Longer than the pause before it is tried again.
  await sleep(1_500)
  test.notOk(asked.includes('noteRows'))
  test.match((await guest.tokens.sizes()).serviceRows, { waiting: 300, dropped: 0 })
  lock.release()
  before.close()
  for (const socket of sockets) socket.destroy()
  await new Promise<void>((owned) => guest.folder?.onceOwned(owned))
  await waitUntil(
    () => usageRowsIn(dbDir).length,
    (count) => count === 300,
  )
})
