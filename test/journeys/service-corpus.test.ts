import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { mintToken, startGateway, temporaryFolder } from '../support/gateway.ts'
import { type Recorded, startRecordingBackend } from '../support/recording-backend.ts'
import { buildCorpus, type CorpusCase, sendBytes } from '../support/service-corpus.ts'
import { expectOutcomes, GATEWAYS_OWN, type ModelRoute, type Sent } from '../support/service-model.ts'

const KEY = 'internal-key-of-the-corpus'
const AT_ONCE = 32

const route = (prefix: string, basePath: string, rest: Partial<ModelRoute> = {}): ModelRoute => ({
  ...{ prefix, basePath, keeps: false, isShut: false },
  ...rest,
})
/** One that keeps the public path, one that strips it, one that replaces it; and below one of them one that is somebody else's. */
const ROUTES = [
  route('/keep', '', { keeps: true }),
  route('/strip', ''),
  route('/old', '/new/base'),
  route('/strip/inner', '/inner', { isShut: true }),
]

const backend = await startRecordingBackend(t)
const to = `http://127.0.0.1:${backend.port}`
const file = join(temporaryFolder(t), 'services.json')
const rows = ROUTES.map(({ prefix, basePath, keeps, isShut }) => {
  const shut = isShut ? { tokens: { types: ['admin'] } } : {}
  return [prefix, { to: to + basePath, serves: 'http', ...(keeps ? { path: 'keep' } : {}), ...shut }]
})
writeFileSync(file, JSON.stringify({ services: Object.fromEntries(rows) }))
const gateway = await startGateway(t, {
  modelsFile: file,
  env: { RATE_LIMIT_PER_MINUTE: '1000000', UNAUTHENTICATED_PER_MINUTE: '1000000', INTERNAL_API_KEY: KEY },
})
const token = await mintToken(t, gateway, { user: 'corpus' })

const prefixes = ROUTES.filter(({ isShut }) => !isShut).map(({ prefix }) => prefix)
const corpus = buildCorpus(prefixes, '/strip', `Authorization: Bearer ${token}\r\n`)
const statuses = new Map<string, number[]>()
const waiting = [...corpus]
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let each = waiting.shift(); each !== undefined; each = waiting.shift()) {
      const certain = expectOutcomes(each.bytes, ROUTES).filter(
        ({ kind, isCertain }) => isCertain && kind !== 'unfinished',
      )
      statuses.set(each.id, await sendBytes(gateway.port, each.bytes, certain.length))
    }
  }),
)

const caseOf = ({ headers }: Recorded) => headers.find(([name]) => name === 'x-case')?.[1]

t.test('it is a corpus', async (t) => {
  t.ok(corpus.length >= 900, `${corpus.length} cases`)
  const sent = corpus.filter(({ bytes }) => expectOutcomes(bytes, ROUTES).some(({ kind }) => kind === 'sent'))
  t.ok(sent.length >= 300, `${sent.length} of them pass`)
  t.ok(corpus.length - sent.length >= 300, `${corpus.length - sent.length} of them do not`)
})

t.test('what reaches the service is what the table allows, byte for byte, or nothing does', async (t) => {
  for (const each of corpus) {
    const mistakes = findMistakes(each)
    if (mistakes.length > 0)
      t.fail(each.name, { mistakes, statuses: statuses.get(each.id), bytes: each.bytes.slice(0, 600) })
  }
  t.pass(`${corpus.length} cases`)
})

t.test('nothing reached the service that was no request of the corpus', async (t) => {
  const ids = new Set(corpus.flatMap(({ id }) => [id, `${id}+`]))
  t.strictSame(backend.garbage, [])
  t.strictSame(
    backend.requests.filter((each) => !ids.has(caseOf(each) ?? '')),
    [],
  )
  t.strictSame(
    backend.requests.filter(({ line }) => /^\S+ \/+(canary|inner)(?![a-z])/i.test(line)),
    [],
    'no canary',
  )
})

/** What is wrong with what became of a case: answers, and what its service saw. */
function findMistakes({ id, bytes, prefix }: CorpusCase): string[] {
  const seen = backend.requests.filter((each) => caseOf(each)?.replace('+', '') === id)
  const mistakes: string[] = []
  let known = 0
  for (const [index, outcome] of expectOutcomes(bytes, ROUTES).entries()) {
    const status = statuses.get(id)?.[index]
    const wasRefused = status !== undefined && status >= 400 && status < 500
    const fits = outcome.kind === 'refused' ? wasRefused : status === 200
    const may = !outcome.isCertain && (status === undefined || wasRefused)
    if (outcome.kind !== 'unfinished' && !fits && !may) mistakes.push(`${outcome.kind}, answered ${status}`)
    if (outcome.kind !== 'sent') continue
    const own = outcome.sent.headers.find(([name]) => name === 'x-case')?.[1]
    const [one, ...more] = seen.filter((each) => caseOf(each) === own)
    if (more.length > 0 || (one === undefined && outcome.isCertain))
      mistakes.push(`${one ? 'more than one' : 'none'} of ${own} came out`)
    if (one === undefined) continue
    known += 1
    mistakes.push(...compare(one, outcome.sent, { prefix, bytes }))
  }
  if (seen.length > known) mistakes.push(`more came out than ${known}: ${JSON.stringify(seen)}`)
  return mistakes
}

function compare(
  { line, headers, body, trailers }: Recorded,
  sent: Sent,
  { prefix, bytes }: Pick<CorpusCase, 'prefix' | 'bytes'>,
) {
  const mistakes: string[] = []
  const differ = (what: string, is: unknown, shall: unknown) => {
    if (JSON.stringify(is) !== JSON.stringify(shall))
      mistakes.push(`${what}: ${JSON.stringify(is)}, not ${JSON.stringify(shall)}`)
  }
  differ('line', line, sent.line)
  differ('body', body, sent.body)
  // What is between the gateway and the service alone.
  const ends = ['host', 'connection', 'content-length', 'transfer-encoding', 'te', 'expect']
  const isClients = ([name]: readonly [string, string]) => !ends.includes(name) && !GATEWAYS_OWN.test(name)
  differ(
    'headers',
    headers.filter(isClients),
    sent.headers.filter(([name]) => !ends.includes(name)),
  )
  const own = headers.filter(([name]) => GATEWAYS_OWN.test(name) || name === 'host')
  const value = (name: string) => own.filter(([each]) => each === name).map(([, each]) => each)
  differ('host', value('host'), [`127.0.0.1:${backend.port}`])
  // The answer to a TRACE is what was sent.
  differ('internal key', value('x-internal-api-key'), line.startsWith('TRACE ') ? [] : [KEY])
  differ('user', value('x-token-user'), ['corpus'])
  differ('address', value('x-forwarded-for'), ['127.0.0.1'])
  differ('scheme', value('x-forwarded-proto'), ['http'])
  const host = /\r\nhost: *([^\r\n]*)/i.exec(bytes)?.[1]
  differ('asked host', value('x-forwarded-host'), host === undefined || host === '' ? [] : [host])
  const hop = (name: string) => headers.filter(([each]) => each === name).map(([, each]) => each)
  if (hop('te').join() !== '') differ('te', hop('te'), ['trailers'])
  if (hop('expect').join() !== '') differ('expect', hop('expect'), ['100-continue'])
  differ('prefix', value('x-forwarded-prefix'), prefix === '/keep' ? [] : [prefix])
  const once = ['via', 'x-request-id', 'x-token-id', 'traceparent']
  for (const name of once) differ(name, value(name).length, 1)
  const known = [
    'host',
    'x-internal-api-key',
    'x-token-user',
    'x-forwarded-for',
    'x-forwarded-proto',
    'x-forwarded-host',
    'x-forwarded-prefix',
  ]
  differ(
    'more of its own',
    own.filter(([name]) => ![...known, ...once, 'tracestate'].includes(name)),
    [],
  )
  differ(
    'trailers',
    trailers.split('\r\n').filter((each) => each !== '' && !/^x-sum: /i.test(each)),
    [],
  )
  return mistakes
}
