import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { json } from '../support/behaviour.ts'
import { bearer, post } from '../support/client.ts'
import { audio, formBody, formType, openUpload, TRANSCRIPT } from '../support/form.ts'
import { mintToken, temporaryFolder } from '../support/gateway.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { gaugeOf } from '../support/memory.ts'
import { canMount } from '../torture/full-disk.ts'

t.setTimeout(120_000)
const MIB = 1024 * 1024
const PATH = '/v1/audio/transcriptions'

async function open(test: Test, env: Record<string, string>) {
  const journey = await startJourney(test, {
    providers: ['main'],
    models: { m: { plan: [{ provider: 'main' }], price: { perSecond: 1 } } },
    servers: { main: { keepBodies: false } },
    env,
    token: { credits: 100_000_000 },
  })
  const { gateway, providers, token } = journey
  providers.main.answer(json(TRANSCRIPT))
  const admin = await mintToken(test, gateway, { type: 'admin', user: 'metrics' })
  const fileFirst = (mib: number, secret = token) =>
    post(gateway, PATH, formBody([audio('a.mp3', Buffer.alloc(mib * MIB)), ['model', 'm']]), {
      ...bearer(secret),
      ...formType(),
    })
  const modelFirst = (mib: number) =>
    post(gateway, PATH, formBody([['model', 'm'], audio('a.mp3', Buffer.alloc(mib * MIB))]), {
      ...bearer(token),
      ...formType(),
    })
  const nothingLeft = () =>
    waitUntil(
      () => gaugeOf(gateway, admin, 'gateway_spool_bytes'),
      (bytes) => bytes === 0,
    )
  return { ...journey, fileFirst, modelFirst, nothingLeft }
}

const NO_ROOM = {
  status: 503,
  headers: { 'x-should-retry': 'true', 'retry-after-ms': '1000' },
  text: /"message":"There is no room .* before the file.*"code":"spool_full"/,
}

t.test('an upload for which there is no room is told so, and how to do without', async (test) => {
  const { fileFirst, modelFirst, nothingLeft, gateway } = await open(test, { SPOOL_BYTES: String(20 * MIB) })
  test.match(await fileFirst(8), { status: 200 })
  test.match(await fileFirst(12), NO_ROOM, 'half of all is one token’s')
  test.match(await modelFirst(12), { status: 200 })
  await nothingLeft()
  const answers = await Promise.all(Array.from({ length: 6 }, () => fileFirst(6)))
  const served = answers.filter(({ status }) => status === 200).length
  test.ok(served >= 1 && served < 6, `${served} of 6 at once`)
  for (const answer of answers) if (answer.status !== 200) test.match(answer, NO_ROOM)
  await nothingLeft()
  test.match(await fileFirst(8), { status: 200 }, 'and there is room again')
  test.same(
    gateway.lines().filter(({ level }) => level === 'error'),
    [],
  )
})

t.test('what cannot be paid is refused before anything of it is stored', async (test) => {
  const { fileFirst, gateway } = await open(test, { SPOOL_BYTES: '0' })
  const poor = await mintToken(test, gateway, { user: 'poor', credits: 100 })
  test.match(await fileFirst(3, poor), { status: 429, text: /"code":"insufficient_quota"/ })
  test.match(await fileFirst(3), NO_ROOM)
})

t.test('a full, a read-only and a missing temporary folder are no failure of the client’s', async (test) => {
  const missing = await open(test, { TMPDIR: join(temporaryFolder(test), 'missing') })
  test.match(await missing.fileFirst(3), NO_ROOM)
  test.match(await missing.modelFirst(3), { status: 200 })
  if (!canMount()) return test.comment('left out: needs the right to mount a tmpfs (root)')
  const folder = temporaryFolder(test)
  const mount = (...args: string[]) => spawnSync('mount', [...args, folder]).status
  test.equal(mount('-t', 'tmpfs', '-o', 'size=4m', 'spool-test'), 0)
  test.teardown(() => spawnSync('umount', ['--lazy', folder]))
  const full = await open(test, { TMPDIR: folder, SPOOL_BYTES: String(1024 * MIB) })
  test.match(await full.fileFirst(2), { status: 200 })
  await full.nothingLeft()
  writeFileSync(join(folder, 'somebody-else'), Buffer.alloc(3 * MIB))
  test.match(await full.fileFirst(2), NO_ROOM)
  const chunked = formBody([audio('a.mp3', Buffer.alloc(3 * MIB)), ['model', 'm']])
  const upload = openUpload(full.gateway, PATH, { ...bearer(full.token), ...formType() })
  await upload.write(chunked)
  upload.end()
  test.match(await upload.reply, NO_ROOM, 'of unknown length: the disk says it')
  test.equal(mount('-o', 'remount,ro'), 0)
  test.match(await full.fileFirst(2), NO_ROOM)
  test.equal(mount('-o', 'remount,rw,size=64m'), 0)
  test.match(await full.fileFirst(2), { status: 200 })
  test.same(readdirSync(folder), ['somebody-else'], 'nothing has a name')
  await full.nothingLeft()
  const said = [...full.gateway.lines(), ...missing.gateway.lines()]
  test.same(
    said.filter(({ level }) => level === 'error'),
    [],
  )
})

t.test('what a crash has left is removed at the start, and nothing of anybody else', async (test) => {
  const folder = temporaryFolder(test)
  const left = join(folder, 'gateway-upload-0b3f0c52-6b53-4e0e-9d6e-0f4a5a1a0c11')
  const others = ['gateway-upload-notes', 'gateway-upload-0b3f0c52-6b53-4e0e-9d6e-0f4a5a1a0c11.txt', 'other']
  for (const name of others) writeFileSync(join(folder, name), '')
  const directory = 'gateway-upload-0b3f0c52-6b53-4e0e-9d6e-0f4a5a1a0c12'
  mkdirSync(join(folder, directory))
  writeFileSync(left, '')
  const { fileFirst } = await open(test, { TMPDIR: folder })
  await waitUntil(
    () => existsSync(left),
    (is) => !is,
  )
  test.match(await fileFirst(2), { status: 200 })
  test.same(readdirSync(folder).sort(), [...others, directory].sort())
})
