import { appendFileSync, chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import t from 'tap'
import { invalidRequest } from '../../src/errors.ts'
import { openBatch, openLog } from '../../src/telemetry/logger/logger.ts'

const DAY_MS = 86_400_000
const START = Date.now()

const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10)
const collect = () => {
  const stream = new PassThrough()
  let text = ''
  stream.on('data', (bytes) => {
    text += bytes
  })
  return {
    stream,
    lines: () =>
      text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
  }
}
const readLines = (dir: string, name: string) =>
  readFileSync(join(dir, name), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
const logNames = (dir: string) =>
  readdirSync(dir)
    .filter((name) => name.endsWith('.log'))
    .sort()

t.test('the same lines stand on stdout and in the file of the day, which has number 1', async (t) => {
  const dir = join(t.testdir(), 'logs')
  const { stream, lines } = collect()
  const log = openLog({ dir, level: 'info', stdout: stream })
  log.logger.info({ provider: 'openai', status: 200 }, 'provider answered')
  log.logger.debug('not shown at this level')
  log.logger.child({ reqId: 'r1' }).warn('careful')
  await log.close()
  const today = `server.${dayOf(START)}.1.log`
  t.strictSame(logNames(dir), [today])
  t.strictSame(readLines(dir, today), lines())
  t.match(lines(), [
    { level: 'info', msg: 'provider answered', provider: 'openai', status: 200, time: /^\d{4}-\d\d-\d\dT/ },
    { level: 'warn', msg: 'careful', reqId: 'r1' },
  ])
  t.equal(lines().length, 2)
})

t.test('a pipe that nobody reads holds no more than so much, and the files have all', async (t) => {
  const dir = join(t.testdir(), 'logs')
  const stream = new Writable({ write: () => undefined })
  const log = openLog({ dir, level: 'info', stdout: stream })
  const fields = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`f${index}`, 'x'.repeat(250)]))
  const count = 4_000
  for (let line = 0; line < count; line++) {
    log.logger.info(fields, 'long')
    if (line % 100 === 0) await log.flush()
  }
  t.ok(stream.writableLength < 18 * 1024 * 1024, `${stream.writableLength} bytes wait`)
  await log.close()
  const lines = logNames(dir).flatMap((name) => readLines(dir, name))
  t.equal(lines.filter(({ msg }) => msg === 'long').length, count)
  t.equal(lines.filter(({ msg }) => msg === 'stdout is not read, its lines are lost').length, 1)
})

t.test('flush resolves when the lines are in the file', async (t) => {
  const dir = t.testdir()
  const log = openLog({ dir, level: 'info', stdout: false })
  t.teardown(() => log.close())
  log.logger.info('first')
  await log.flush()
  t.match(readLines(dir, `server.${dayOf(START)}.1.log`), [{ msg: 'first' }])
})

t.test('an error line is written at once, a process that dies next has it', async (t) => {
  const { stream, lines } = collect()
  const log = openLog({ dir: t.testdir(), level: 'info', stdout: stream })
  t.teardown(() => log.close())
  log.logger.fatal('last words')
  t.match(lines(), [{ level: 'fatal', msg: 'last words' }])
})

t.test(
  'twelve days: seven are kept, a restart goes on in the last file, numbers follow the size',
  async (t) => {
    const dir = t.testdir()
    let now = START - 11 * DAY_MS
    for (let day = 0; day < 12; day++) {
      const log = openLog({ dir, level: 'info', stdout: false, now: () => now })
      log.logger.info({ day }, 'morning')
      await log.close()
      now += DAY_MS
    }
    const expected = Array.from(
      { length: 7 },
      (_, ago) => `server.${dayOf(START - (6 - ago) * DAY_MS)}.1.log`,
    )
    t.strictSame(logNames(dir), expected)
    const today = `server.${dayOf(START)}.1.log`
    const again = openLog({ dir, level: 'info', stdout: false })
    again.logger.info('evening')
    await again.close()
    t.match(readLines(dir, today), [{ msg: 'morning' }, { msg: 'evening' }])
    appendFileSync(join(dir, today), 'x'.repeat(20 * 1024 * 1024))
    const full = openLog({ dir, level: 'info', stdout: false })
    full.logger.info('next file')
    await full.close()
    t.match(readLines(dir, `server.${dayOf(START)}.2.log`), [{ msg: 'next file' }])
  },
)

t.test('a running log changes the file at midnight and removes the eighth day', async (t) => {
  const old = `server.${dayOf(START - 6 * DAY_MS)}.3.log`
  const dir = t.testdir({ [old]: '{}\n', 'other.log': 'stays' })
  let now = START
  const log = openLog({ dir, level: 'info', stdout: false, now: () => now })
  log.logger.info('today')
  await log.flush()
  t.ok(existsSync(join(dir, old)))
  now += DAY_MS
  log.logger.info('tomorrow')
  await log.close()
  t.notOk(existsSync(join(dir, old)))
  t.ok(existsSync(join(dir, 'other.log')))
  t.match(readLines(dir, `server.${dayOf(START + DAY_MS)}.1.log`), [{ msg: 'tomorrow' }])
})

t.test('more than 20 MB go into several files, none lost, none larger', async (t) => {
  const dir = t.testdir()
  const log = openLog({ dir, level: 'info', stdout: false })
  const text = 'y'.repeat(250)
  const fields = Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`field${index}`, text]))
  for (let round = 0; round < 12; round++) {
    for (let line = 0; line < 1000; line++) log.logger.info(fields, 'much')
    await log.flush()
  }
  await log.close()
  const names = logNames(dir)
  const sizes = names.map((name) => readFileSync(join(dir, name)).length)
  t.strictSame(
    names,
    [1, 2].map((number) => `server.${dayOf(START)}.${number}.log`),
  )
  t.ok(
    sizes.every((size) => size <= 20 * 1024 * 1024),
    String(sizes),
  )
  t.equal(
    names.reduce((sum, name) => sum + readLines(dir, name).length, 0),
    12_000,
  )
})

for (const damage of ['', '{"files":[', 'null', '{"keep":1}']) {
  t.test(`an audit file holding ${JSON.stringify(damage)} is rebuilt`, async (t) => {
    const old = `server.${dayOf(START - 7 * DAY_MS)}.1.log`
    const dir = t.testdir({ '.server-audit.json': damage, [old]: 'old\n' })
    const log = openLog({ dir, level: 'info', stdout: false })
    log.logger.info('well')
    await log.close()
    t.strictSame(logNames(dir), [`server.${dayOf(START)}.1.log`])
    t.match(JSON.parse(readFileSync(join(dir, '.server-audit.json'), 'utf8')), {
      keep: { days: true, amount: 7 },
    })
  })
}

t.test('a clock that is set a year ahead takes no log away but as days pass', async (t) => {
  const names = Array.from({ length: 7 }, (_, ago) => `server.${dayOf(START - ago * DAY_MS)}.1.log`).reverse()
  const dir = t.testdir(Object.fromEntries(names.map((name) => [name, '{}\n'])))
  let now = START
  const log = openLog({ dir, level: 'info', stdout: false, now: () => now })
  const write = async () => {
    log.logger.info('a line')
    await log.flush()
    return logNames(dir)
  }
  t.strictSame(await write(), names)
  now += 365 * DAY_MS
  const ahead = `server.${dayOf(now)}.1.log`
  t.strictSame(await write(), [...names.slice(1), ahead], 'one day more, one day less')
  now += DAY_MS
  t.strictSame((await write()).slice(0, -2), names.slice(2), 'so with the next day')
  now = START + DAY_MS
  t.strictSame((await write()).slice(0, 5), names.slice(2), 'set right again, nothing is lost')
  now += 5 * DAY_MS
  const kept = await write()
  t.strictSame(kept.slice(0, 2), [names.at(-1), `server.${dayOf(START + DAY_MS)}.1.log`], 'and old days go')
  await log.close()
})

t.test('a log that was not written for long goes as new days come', async (t) => {
  const dir = t.testdir({ 'server.2020-01-01.1.log': 'old\n', 'server.2020-01-01.2.log': 'old\n' })
  let now = START
  const log = openLog({ dir, level: 'info', stdout: false, now: () => now })
  for (let day = 1; day <= 7; day++) {
    log.logger.info('a line')
    await log.flush()
    t.equal(logNames(dir).length, day < 7 ? day + 2 : 7)
    now += DAY_MS
  }
  await log.close()
})

t.test('a deleted directory is made again and written to', async (t) => {
  const dir = join(t.testdir(), 'logs')
  let now = START
  const log = openLog({ dir, level: 'info', stdout: false, now: () => now })
  log.logger.info('before')
  await log.flush()
  rmSync(dir, { recursive: true })
  now += 2000
  log.logger.info('after')
  await log.close()
  t.match(readLines(dir, `server.${dayOf(START)}.1.log`), [{ msg: 'after' }])
})

t.test('a clock that is set back does not keep the log from its files', async (t) => {
  const dir = join(t.testdir(), 'logs')
  let now = START
  const log = openLog({ dir, level: 'info', stdout: false, now: () => now })
  log.logger.info('before')
  await log.flush()
  rmSync(dir, { recursive: true })
  now -= 120_000
  log.logger.info('after')
  await log.close()
  t.match(readLines(dir, `server.${dayOf(now)}.1.log`), [{ msg: 'after' }])
})

t.test(
  'a file in the place of the directory: stdout goes on, and the files come when it is gone',
  async (t) => {
    const dir = join(t.testdir({ logs: 'a file' }), 'logs')
    const { stream, lines } = collect()
    let now = START
    const log = openLog({ dir, level: 'info', stdout: stream, now: () => now })
    log.logger.info('one')
    await log.flush()
    rmSync(dir)
    now += 6000
    log.logger.info('two')
    await log.close()
    t.match(
      lines().map(({ msg }) => msg),
      ['one', 'log files cannot be written, the log goes to stdout alone', 'two'],
    )
    t.match(readLines(dir, `server.${dayOf(START)}.1.log`), [{ msg: /cannot be written/ }, { msg: 'two' }])
  },
)

t.test(
  'a disk without space: the process lives, stdout goes on',
  { skip: !existsSync('/dev/full') },
  async (t) => {
    const today = `server.${dayOf(START)}.1.log`
    const dir = t.testdir({ [today]: t.fixture('symlink', '/dev/full') })
    const { stream, lines } = collect()
    let now = START
    const log = openLog({ dir, level: 'info', stdout: stream, now: () => now })
    log.logger.info('one')
    await log.flush()
    log.logger.info('two')
    await log.flush()
    t.match(lines(), [{ msg: 'one' }, { msg: /cannot be written/, code: 'ENOSPC' }, { msg: 'two' }])
    rmSync(join(dir, today))
    now += 6000
    log.logger.info('three')
    await log.close()
    t.match(readLines(dir, today).at(-1), { msg: 'three' })
  },
)

t.test('a read-only directory: stdout goes on', async (t) => {
  // Modes do not bind root, but the kernel's own tree takes nobody's files.
  const dir = process.getuid?.() === 0 ? '/proc/sys/kernel' : t.testdir()
  if (!dir.startsWith('/proc')) {
    chmodSync(dir, 0o500)
    t.teardown(() => chmodSync(dir, 0o700))
  }
  const { stream, lines } = collect()
  const log = openLog({ dir, level: 'info', stdout: stream })
  log.logger.info('one')
  await log.close()
  t.match(lines(), [{ msg: 'one' }])
})

t.test('the first file is a directory: the process lives and stdout goes on', async (t) => {
  const dir = t.testdir()
  mkdirSync(join(dir, `server.${dayOf(START)}.1.log`))
  const { stream, lines } = collect()
  const log = openLog({ dir, level: 'info', stdout: stream })
  log.logger.info('one')
  await log.flush()
  log.logger.info('two')
  await log.close()
  t.match(
    lines().map(({ msg }) => msg),
    ['one'],
  )
  t.ok(lines().some(({ msg }) => msg === 'two'))
})

t.test('a stdout that is closed does not end the process', async (t) => {
  const stream = new PassThrough()
  const dir = t.testdir()
  const log = openLog({ dir, level: 'info', stdout: stream })
  stream.destroy(new Error('EPIPE'))
  log.logger.error('to the file')
  await log.close()
  t.match(readLines(dir, `server.${dayOf(START)}.1.log`), [{ msg: 'to the file' }])
})

t.test('no secret passes, wherever it was put', async (t) => {
  const dir = t.testdir()
  const { stream, lines } = collect()
  const planted = Array.from({ length: 40 }, (_, index) => `planted${index}"\\secret`)
  const log = openLog({ dir, level: 'trace', stdout: stream, secrets: planted.slice(0, 10) })
  const { logger } = log
  const at = (index: number) => planted[index] ?? ''
  const gw = `gw-${'Ab1_'.repeat(10)}`
  const sk = `sk-proj-${'Zz9-'.repeat(8)}`
  const names = [
    'authorization',
    'Authorization',
    'x-api-key',
    'api-key',
    'apiKey',
    'cookie',
    'password',
    'token',
    'headers',
    'body',
    'query',
    'url',
    'prompt',
  ]
  for (const [index, name] of names.entries()) {
    logger.info({ [name]: at(10 + index), deep: { er: [{ [name]: at(10 + index) }] } }, 'named')
  }
  logger.info({ note: at(0), more: { note: at(1) } }, `known ${at(2)}`)
  logger.child({ bound: at(3) }).info('bound')
  logger.error(new Error(`prompt ${at(24)}\n    at ${at(24)}`))
  logger.error(
    { err: Object.assign(new TypeError(at(25)), { code: 'E_X', cause: new Error(at(26)), body: at(27) }) },
    'failed',
  )
  logger.error({ cause: new Error(at(28)), list: [new Error(at(29))] }, 'failed')
  logger.info(
    {
      req: { method: 'POST', url: `/v1?x=${at(30)}`, headers: { a: at(31) } },
      res: { statusCode: 200, body: at(32) },
    },
    'exchange',
  )
  logger.info({ note: gw, long: `${'x'.repeat(240)}${gw}` }, `text ${sk}`)
  logger.info('%s and Bearer abcdef', gw)
  logger.info({ note: `authorization: Bearer short` }, 'header text')
  await log.close()
  const text = readFileSync(join(dir, `server.${dayOf(START)}.1.log`), 'utf8')
  t.strictSame(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
    lines(),
  )
  t.strictSame(
    planted.filter((secret) => text.includes(JSON.stringify(secret).slice(1, -1)) || text.includes(secret)),
    [],
  )
  for (const part of ['gw-Ab1', 'sk-proj', 'Bearer abcdef', 'Bearer short'])
    t.notOk(text.includes(part), part)
  t.match(text, /"code":"E_X"/)
  t.match(text, /logger\.test\.ts/, 'the frames of a stack are kept')
})

t.test('one call is one line, whatever stands in it', async (t) => {
  const { stream, lines } = collect()
  const log = openLog({ dir: t.testdir(), level: 'info', stdout: stream })
  const round: Record<string, unknown> = { a: 1n, f: () => 1, n: Number.NaN }
  round.self = round
  const trap = {
    get bad() {
      throw new Error('no')
    },
  }
  log.logger.info({ note: 'a\nb\r\u0000\u001b[31m', long: 'z'.repeat(1000) }, 'line\nbreak')
  log.logger.info(round, 'round')
  log.logger.info(trap, 'trap')
  log.logger.info({ time: 'forged', level: 'fatal', msg: 'forged' }, 'true')
  log.logger.child({ a: 1, b: 1 }).info({ b: 2, c: undefined }, 'later counts')
  log.logger.info(invalidRequest('Our own text stays.', { cause: new Error('hidden') }), 'refused')
  log.logger.info(
    {
      big: Array.from({ length: 5000 }, () => 'w'.repeat(200)),
      ...Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`k${n}`, 'v'.repeat(200)])),
    },
    'huge',
  )
  await log.close()
  t.equal(lines().length, 7)
  t.match(lines(), [
    { msg: 'line\nbreak', note: 'a\nb\r\u0000\u001b[31m', long: /^z{256}…$/ },
    { msg: 'round', a: '1', n: null },
    { msg: 'trap', fieldsLost: true },
    { msg: 'true', level: 'info', time: /^\d{4}/ },
    { msg: 'later counts', a: 1, b: 2 },
    {
      msg: 'refused',
      err: { message: 'Our own text stays.', code: 'invalid_request', cause: { type: 'Error' } },
    },
    { msg: 'huge', fieldsLost: true },
  ])
})

t.test('a disk that takes nothing costs lines, not memory, and the loss is reported', async (t) => {
  const written: string[] = []
  let waiting = 17 * 1024 * 1024
  const batch = openBatch({
    write: (text) => written.push(text),
    waiting: () => waiting,
    reportLost: (count) => `lost ${count}`,
  })
  for (let line = 0; line < 100; line++) batch.add('x')
  batch.flush()
  t.strictSame(written, [])
  waiting = 0
  batch.add('y')
  batch.flush()
  t.strictSame(written, ['y\nlost 100'])
})
