import t from 'tap'
import { PathTemplates, readTemplate, templateOf } from '../../src/services/paths/path-template.ts'
import { routeOf } from '../support/service-rows.ts'

const plain = (rest: string) => templateOf(rest, [])

t.test('what is somebody’s in a path is {id}, the words of an API stay', async (t) => {
  const cases: readonly [rest: string, template: string][] = [
    ['', '/'],
    ['/', '/'],
    ['?page=2', '/'],
    ['/orders', '/orders'],
    ['/orders/42', '/orders/{id}'],
    ['/orders/42/items/9?token=s3cret', '/orders/{id}/items/{id}'],
    ['/orders//42/', '/orders/{id}'],
    ['/v1/lineItems', '/v1/lineItems'],
    ['/auth/forgot-password', '/auth/forgot-password'],
    ['/user_profile/me', '/user_profile/me'],
    ['/assets/app.js', '/assets/app.js'],
    ['/socket.io/', '/socket.io'],
    ['/ws', '/ws'],
    ['/rss.xml', '/rss.xml'],
    ['/health', '/health'],
  ]
  for (const [rest, template] of cases) t.equal(plain(rest), template, rest)
})

t.test('no number, UUID, hash, e-mail, secret or odd text is a word', async (t) => {
  const secrets = [
    '42',
    '-1',
    '3.14',
    '2026-11-28',
    'b7f0d7e2-5c2a-4b7e-9f57-0d1c2a3b4c5d',
    'B7F0D7E2',
    'deadbeefcafe',
    'abcdefabcdef',
    '9e15efaf3f68',
    'ann@example.com',
    'ann%40example.com',
    'gw-Zk3uVtWb2mJ8sXq1Yp0aRcLdNeFg',
    'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln',
    'xkqzrtbn',
    'aBcDeFgH',
    'AKIAIOSFODNN',
    'a-very-long-title-of-a-blog-post',
    'pneumonoultramicroscopicsilicovolcanoconiosis',
    'Ärzte',
    '%C3%A4rzte',
    'main.8f3a2b.js',
    'user:7',
    'a,b',
    '..',
    '{id}x',
    '<script>',
    "o'neill",
    '*',
  ]
  for (const secret of secrets) t.equal(plain(`/things/${secret}`), '/things/{id}', secret)
})

t.test('a path of any depth and length is a short template', async (t) => {
  t.equal(plain('/a/b/c/d/e/f/g/h'), '/a/b/c/d/e/f/g/h')
  t.equal(plain('/a/b/c/d/e/f/g/h/i'), '/a/b/c/d/e/f/g/h/{rest}')
  t.equal(plain('/42'.repeat(20_000)), `${'/{id}'.repeat(8)}/{rest}`)
  const longest = plain(`/${'a'.repeat(16)}`.repeat(1_000))
  t.ok(longest.length < 9 * 34, longest)
})

t.test('the operator’s own templates come first', async (t) => {
  const templates = ['/users/me', '/users/{name}', '/files/*', '/{lang}/docs', 'about']
  const own = (rest: string) => templateOf(rest, templates.map(readTemplate))
  t.equal(own('/users/me'), '/users/me')
  t.equal(own('/users/ann?x=1'), '/users/{name}')
  t.equal(own('/users/ann/orders'), '/users/ann/orders', 'it covers no more than it says')
  t.equal(own('/files'), '/files/*')
  t.equal(own('/files/a/b/c/secret-9'), '/files/*')
  t.equal(own('/de/docs'), '/{lang}/docs')
  t.equal(own('/about/'), 'about')
  t.equal(own('/orders/7'), '/orders/{id}')
})

t.test('there is a bound for the paths of a route, whatever its clients ask for', async (t) => {
  const templates = new PathTemplates()
  const route = routeOf({ prefix: '/api/shop' })
  const words = (n: number) =>
    n.toString(26).replaceAll(/./g, (digit) => `ba${'abcdefghijklmnopqrstuvwxyz'[parseInt(digit, 26)]}`)
  t.equal(templates.of(route, '/api/shop/orders/7?x=1', 200), '/api/shop/orders/{id}')
  t.equal(templates.of(route, '/api/shop', 200), '/api/shop')
  t.equal(templates.of(route, '/api/shop/unknown', 404), '/api/shop/{other}')
  t.equal(templates.of(route, '/api/shop/orders/9', 404), '/api/shop/orders/{id}', 'a known path stays known')
  const seen = new Set<string>()
  for (let n = 0; n < 5_000; n++) seen.add(templates.of(route, `/api/shop/${words(n)}`, 200))
  t.ok(seen.size <= 501, String(seen.size))
  t.ok(seen.has('/api/shop/{other}'))
  t.equal(templates.of(route, '/api/shop/orders/10', 200), '/api/shop/orders/{id}')
  const other = routeOf({ prefix: '/api/users' })
  t.equal(templates.of(other, '/api/users/me', 200), '/api/users/me', 'another route is not touched')
})
