import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { openServiceRows } from '../../src/services/usage-rows.ts'
import type { ServiceRow } from '../../src/stores/contracts/usage-columns.ts'
import { routeOf } from '../support/service-rows.ts'

const ANN = { kind: 'token', id: 'tok_1', user: 'ann' }
const PERSON = { kind: 'person', id: 'sub-7', issuer: 'https://id.example.com' }

/** The rows of a request of which so much is known at its end. */
function rowsOf(request: object, route = routeOf()): ServiceRow[] {
  const rows: ServiceRow[] = []
  const note = openServiceRows({
    rows: { note: (row) => rows.push(row) },
    serviceOf: () => ({ route, entry: route.entry }),
  })
  const known = {
    id: 'req_1',
    isAdmitted: true,
    method: 'POST',
    url: '/api/users/42/orders?api_key=gw-secret',
    caller: ANN,
    line: { status: 201, latencyMs: 12.5, firstByteMs: 3.5, attempts: 2, bytesIn: 7, bytesOut: 9 },
  }
  note({ ...known, ...request } as unknown as FastifyRequest)
  return rows
}

t.test('a request of a service is a row: who, what, how long, and nothing that was secret', async (t) => {
  const from = Date.now()
  const [row] = rowsOf({})
  t.match(row, {
    ...{ requestId: 'req_1', tokenId: 'tok_1', user: 'ann', provider: 'users', endpoint: 'service' },
    ...{ status: 201, latencyMs: 12.5, firstByteMs: 3.5, attempts: 2, bytesIn: 7, bytesOut: 9 },
    ...{ method: 'POST', path: '/api/users/{id}/orders' },
  })
  t.ok(Math.abs((row?.at ?? 0) - from) < 1_000 && Number.isInteger(row?.at))
  t.notMatch(JSON.stringify(row), /secret|api_key|42/)
})

t.test('a person is its subject, anybody is nobody, and both have no token', async (t) => {
  t.match(rowsOf({ caller: PERSON }), [{ tokenId: '', user: 'sub-7' }])
  t.match(rowsOf({ caller: { kind: 'anybody', id: '192.0.2.1' } }), [{ tokenId: '', user: '' }])
  t.match(rowsOf({ caller: undefined }), [{ tokenId: '', user: '' }])
  const [long] = rowsOf({ caller: { ...PERSON, id: 'x'.repeat(5_000) } })
  t.equal(long?.user.length, 256)
})

t.test('what was refused at the door, and routes that want no rows, leave none', async (t) => {
  t.same(rowsOf({ isAdmitted: false }), [])
  t.same(rowsOf({ isAdmitted: undefined }), [])
  t.same(rowsOf({}, routeOf({ writesUsage: false })), [])
})

t.test('a request whose service never answered is a row of zeros', async (t) => {
  t.match(rowsOf({ line: { status: 502, latencyMs: 5_000 } }), [
    { status: 502, firstByteMs: 0, attempts: 0, bytesIn: 0, bytesOut: 0 },
  ])
})
