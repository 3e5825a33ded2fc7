import fc from 'fast-check'
import t from 'tap'
import type { OpenPath, ServiceKind, ServiceRoute } from '../../src/config/catalog/service-routes.ts'
import { buildRoute } from '../../src/config/catalog/service-row.ts'
import { buildServiceTable } from '../../src/config/catalog/service-table.ts'

const rows = (...prefixes: string[]): ServiceRoute[] => prefixes.map((prefix) => buildRoute({ prefix }))
const open = (path: string, method?: string, isTree = false): OpenPath => ({ path, method, isTree })

/** What `find` promises, without a thought for its cost. */
const findSlowly = (routes: readonly ServiceRoute[], path: string, kind: ServiceKind) => {
  const serves = (route: ServiceRoute) => route.serves === 'both' || route.serves === kind
  const covering = routes
    .filter(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`))
    .filter((route) => kind === 'websocket' || serves(route))
    .toSorted((a, b) => b.prefix.length - a.prefix.length)
  return covering.find((route) => route.prefix === covering[0]?.prefix && serves(route))
}

t.test('the longest public path of its kind that covers a path is found', async (t) => {
  const table = buildServiceTable([
    ...rows('/api', '/api/users', '/api/users/admin/x'),
    buildRoute({ prefix: '/api/users/live', serves: 'websocket' }),
    buildRoute({ prefix: '/files', serves: 'http', name: 'of http' }),
    buildRoute({ prefix: '/files', serves: 'websocket', name: 'of sockets' }),
  ])
  const found = (path: string, kind: ServiceKind = 'http') => table.find(path, 'GET', kind)?.route
  t.equal(found('/api')?.prefix, '/api')
  t.equal(found('/api/')?.prefix, '/api')
  t.equal(found('/api/user')?.prefix, '/api')
  t.equal(found('/api/users/admin')?.prefix, '/api/users')
  t.equal(found('/api/users/admin/x/y')?.prefix, '/api/users/admin/x')
  t.equal(found('/api/users/live/1')?.prefix, '/api/users')
  t.equal(found('/api/users/live/1', 'websocket')?.prefix, '/api/users/live')
  t.equal(found('/files/1')?.name, 'of http')
  t.equal(found('/files/1', 'websocket')?.name, 'of sockets')
  for (const path of ['', '/', '/ap', '/apis', '*', 'api', 'http://x/api', '//api'])
    t.equal(found(path), undefined, path)
  t.ok(table.covers('/api/users/live'))
  t.notOk(table.covers('/apis'))
})

t.test('a path that a service may read as one of another route leads nowhere', async (t) => {
  const table = buildServiceTable([
    buildRoute({ prefix: '/api', entry: 'open' }),
    buildRoute({ prefix: '/api/admin', entry: 'token' }),
  ])
  const hostile =
    `/api/%61dmin/x /api/%2561dmin/x /api/ADMIN /api//admin /api/./admin /api/x/../admin /api/x/..;/admin/y
    /api/admin;v=1/x /api\\admin /api/%5cadmin /api%2fx/../../admin /api/admin%2fx /api/x%2f..%2fadmin /api/%2e%2e/b
    /api/%09admin/x /api/admin%3fx /api/admin%23x /api/..%2f..%2fb /api/../b /api/..`.split(/\s+/)
  for (const path of hostile) t.equal(table.find(path, 'GET', 'http'), undefined, path)
  const plain = [
    '/api/Users/%7Eme',
    '/api/a%2Fb',
    '/api/x;v=1',
    '/api/a//b',
    '/api/.well-known/x',
    '/api/%E2%82%AC',
  ]
  for (const path of plain) t.equal(table.find(path, 'GET', 'http')?.entry, 'open', path)
})

t.test('a handshake does not go around a row that guards plain requests', async (t) => {
  const table = buildServiceTable([
    buildRoute({ prefix: '/api', entry: 'open' }),
    buildRoute({ prefix: '/api/admin', serves: 'http' }),
    buildRoute({ prefix: '/api/admin/live', serves: 'websocket', entry: 'jwt' }),
  ])
  const entry = (path: string, kind: ServiceKind) => table.find(path, 'GET', kind)?.entry
  t.equal(entry('/api/admin/x', 'http'), 'token')
  t.equal(entry('/api/admin/x', 'websocket'), undefined)
  t.equal(entry('/api/%61dmin/x', 'websocket'), undefined)
  t.equal(entry('/api/admin/live/x', 'websocket'), 'jwt')
  t.equal(entry('/api/admin/live/x', 'http'), 'token', 'polling goes where HTTP goes')
  t.equal(entry('/api/x', 'websocket'), 'open')
})

t.test('an open path is the one that was named, in the way it was spelt', async (t) => {
  const openPaths = [
    open('/Login', 'POST'),
    open('/health', 'GET'),
    open('/public', undefined, true),
    open('/'),
  ]
  const table = buildServiceTable([buildRoute({ prefix: '/api/users', entry: 'jwt', openPaths })])
  const entry = (path: string, method = 'GET') => table.find(`/api/users${path}`, method, 'http')?.entry
  t.equal(entry('/Login', 'POST'), 'open')
  t.equal(entry('/health'), 'open')
  t.equal(entry('/health', 'HEAD'), 'open')
  for (const path of ['', '/', '/public', '/public/', '/public/a/b.css', '/public/a%20b', '/public/A'])
    t.equal(entry(path, 'PUT'), 'open', path)
  t.equal(entry('/Login'), 'jwt')
  t.equal(entry('/health', 'POST'), 'jwt')
  for (const path of `/login /Login/ /Login/x /Log%69n /Login;x //Login /publicity /x/public /public/../x /public/..%2fx
    /public/%2e%2e/x /public\\..\\x /public/..;/x /PUBLIC/x /%70ublic/x`.split(/\s+/))
    t.not(entry(path, 'POST'), 'open', path)
})

const segment = fc.constantFrom('a', 'b', 'ab', 'c.d', '-')
const prefix = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join('/')}`)
const route = fc
  .record({ prefix, serves: fc.constantFrom('http' as const, 'websocket' as const, 'both' as const) })
  .map(buildRoute)
const keyOf = ({ prefix, serves }: ServiceRoute, kind: ServiceKind) =>
  serves === 'both' || serves === kind ? prefix : Symbol()
const table = fc
  .array(route, { maxLength: 40 })
  .map((all) =>
    all.filter((each, at) =>
      all
        .slice(0, at)
        .every(
          (other) =>
            keyOf(each, 'http') !== keyOf(other, 'http') &&
            keyOf(each, 'websocket') !== keyOf(other, 'websocket'),
        ),
    ),
  )
const path = fc.oneof(
  fc.tuple(prefix, fc.constantFrom('', '/', '/x', 'x')).map((parts) => parts.join('')),
  fc.array(fc.constantFrom('/', 'a', 'b', '?', ' '), { maxLength: 12 }).map((parts) => parts.join('')),
)

t.test('it finds what a search through all rows finds', async (t) => {
  fc.assert(
    fc.property(
      table,
      path,
      fc.constantFrom('http' as const, 'websocket' as const),
      (routes, asked, kind) => {
        if (asked.includes('//')) return
        const found = buildServiceTable(routes).find(asked, 'GET', kind)?.route
        t.equal(
          found,
          findSlowly(routes, asked, kind),
          `${asked} among ${routes.map(({ prefix }) => prefix)}`,
        )
      },
    ),
    { numRuns: 2000 },
  )
})

/** How often a table of so many rows looks into one of its maps. */
const countSteps = (count: number, path: string): number => {
  const routes = rows('/api/users/admin', ...Array.from({ length: count }, (_, at) => `/api/service-${at}`))
  const table = buildServiceTable(routes)
  const { get } = Map.prototype
  let steps = 0
  Map.prototype.get = function counted(this: Map<unknown, unknown>, key: unknown) {
    steps++
    return get.call(this, key)
  }
  try {
    table.find(path, 'GET', 'http')
  } finally {
    Map.prototype.get = get
  }
  return steps
}

t.test('a look-up costs as much among 5,000 rows as among two', async (t) => {
  for (const path of [
    '/api/users/admin/7/orders',
    '/api/service-1/x',
    '/elsewhere',
    `/api/users${'/a'.repeat(4000)}`,
  ]) {
    t.equal(countSteps(5000, path), countSteps(2, path), path.slice(0, 40))
    t.ok(countSteps(5000, path) <= 4, 'no deeper than the path agrees with a row')
  }
})
