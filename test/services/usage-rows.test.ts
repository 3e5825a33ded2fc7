import Fastify, { type FastifyRequest } from 'fastify'
import t from 'tap'
import type { Caller } from '../../src/auth/caller.ts'
import { openServiceRows } from '../../src/services/usage-rows.ts'
import type { Token } from '../../src/stores/contracts/tokens.ts'
import type { ServiceRow } from '../../src/stores/contracts/usage-columns.ts'
import { type RequestLine, requestLine } from '../../src/telemetry/request-line.ts'
import { routeOf } from '../support/service-rows.ts'

const TOKEN: Token = {
  ...{ id: 'tok_1', hash: '', prefix: '', type: 'user', user: 'ann', name: '', models: [], createdAt: 0 },
}
const ANN: Caller = { kind: 'token', id: 'tok_1', user: 'ann', token: TOKEN }
const person = (id: string): Caller => ({
  ...{ kind: 'person', id, issuer: 'https://id.example.com', claims: {} },
  ...{ userId: id, userClaims: '{}', expiresAt: 0, lease: '' },
})

interface Known {
  caller?: Caller | undefined
  isAdmitted?: boolean | undefined
  line?: Partial<RequestLine>
  status?: number
}

/** The rows of a request of which the rooms find out so much. */
async function rowsOf(
  { caller, isAdmitted, line, status = 201 }: Known,
  route = routeOf(),
): Promise<ServiceRow[]> {
  const rows: ServiceRow[] = []
  // Fastify measures where there is a log.
  const app = Fastify({ logger: { level: 'fatal' } })
  const serviceOf = () => ({ route, entry: route.entry })
  const noteService = openServiceRows({ rows: { note: (row) => rows.push(row) }, serviceOf })
  await app.register(requestLine, { count: () => undefined, noteService })
  app.addHook('onRequest', (request: FastifyRequest, _reply, done) => {
    if (caller) request.caller = caller
    if (caller?.kind === 'token') request.token = caller.token
    if (isAdmitted !== undefined) request.isAdmitted = isAdmitted
    request.service = serviceOf()
    Object.assign(request.line, line)
    done()
  })
  app.post('/*', (_request, reply) => reply.code(status).send())
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  await fetch(`${origin}/api/users/42/orders?api_key=gw-secret`, { method: 'POST' })
  await app.close()
  return rows
}

const LINE = { firstByteMs: 3.5, attempts: 2, bytesIn: 7, bytesOut: 9 }

t.test('a request of a service is a row: who, what, how long, and nothing that was secret', async (t) => {
  const from = Date.now()
  const [row] = await rowsOf({ caller: ANN, isAdmitted: true, line: LINE })
  t.match(row, {
    ...{ tokenId: 'tok_1', user: 'ann', provider: 'users', endpoint: 'service' },
    ...{ status: 201, firstByteMs: 3.5, attempts: 2, bytesIn: 7, bytesOut: 9 },
    ...{ method: 'POST', path: '/api/users/{id}/orders', requestId: /./ },
  })
  t.ok((row?.latencyMs ?? 0) > 0)
  t.ok(Math.abs((row?.at ?? 0) - from) < 1_000 && Number.isInteger(row?.at))
  t.notMatch(JSON.stringify({ ...row, at: 0, latencyMs: 0 }), /secret|api_key|42/)
})

t.test('a person is its subject, anybody is nobody, and both have no token', async (t) => {
  const admitted = (caller: Caller | undefined) => rowsOf({ caller, isAdmitted: true })
  t.match(await admitted(person('sub-7')), [{ tokenId: '', user: 'sub-7' }])
  t.match(await admitted({ kind: 'anybody', id: '192.0.2.1' }), [{ tokenId: '', user: '' }])
  t.match(await admitted(undefined), [{ tokenId: '', user: '' }])
  const [long] = await admitted(person('x'.repeat(5_000)))
  t.equal(long?.user.length, 256)
})

t.test('what was refused at the door, and routes that want no rows, leave none', async (t) => {
  t.same(await rowsOf({ caller: ANN, isAdmitted: false }), [])
  t.same(await rowsOf({ caller: ANN }), [])
  t.same(await rowsOf({ caller: ANN, isAdmitted: true }, routeOf({ writesUsage: false })), [])
})

t.test('a request whose service never answered is a row of zeros', async (t) => {
  t.match(await rowsOf({ caller: ANN, isAdmitted: true, status: 502 }), [
    { status: 502, firstByteMs: 0, attempts: 0, bytesIn: 0, bytesOut: 0 },
  ])
})
