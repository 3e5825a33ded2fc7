import t from 'tap'
import { mapCookie, mapLocation, mapRefresh } from '../../src/services/heads/location.ts'

const target = { origin: 'http://users:3000', basePath: '/v2' }
const other = { origin: 'https://users-2', basePath: '/base' }
const route = { prefix: '/api/users', keepsPrefix: false, targets: [target, other] }
const whence = { route, target }

t.test('what points into the service leads to the public path, and all else stays what it is', async (t) => {
  for (const [value, wanted] of [
    ['http://users:3000/v2/login?next=/v2/a#b', '/api/users/login?next=/v2/a#b'],
    ['HTTP://Users:3000/v2', '/api/users'],
    ['//users:3000/v2/a', '/api/users/a'],
    ['https://users-2/base/a', '/api/users/a'],
    ['https://users-2:443/base/a', '/api/users/a'],
    ['/v2/a', '/api/users/a'],
    ['/v2?x', '/api/users?x'],
    ['/elsewhere', '/elsewhere'],
    ['/api/users/a', '/api/users/a'],
    ['a/b', 'a/b'],
    ['?page=2', '?page=2'],
    ['https://users:3000/v2/a', 'https://users:3000/v2/a'],
    ['http://users:30001/v2/a', 'http://users:30001/v2/a'],
    ['http://users:3000@evil.example/v2/a', 'http://users:3000@evil.example/v2/a'],
    ['https://login.example/v2/a', 'https://login.example/v2/a'],
    ['', ''],
  ] as const)
    t.equal(mapLocation(value, whence), wanted, value)
  // Nobody outside could reach it: the host is not told all the same.
  t.equal(mapLocation('http://users:3000/elsewhere', whence), '/elsewhere')
  const keep = { route: { ...route, keepsPrefix: true }, target: { ...target, basePath: '' } }
  t.equal(mapLocation('http://users:3000/api/users/a', keep), '/api/users/a')
  t.equal(mapRefresh('5; url=http://users:3000/v2/a', whence), '5; url=/api/users/a')
  t.equal(mapRefresh('5', whence), '5')
})

t.test(
  'a page that refreshes itself is led like one that is redirected, however it is written',
  async (t) => {
    for (const [value, wanted] of [
      ['0;URL=http://users:3000/v2/a', '0;URL=/api/users/a'],
      ['0.5; url="http://users:3000/v2/a"', '0.5; url="/api/users/a"'],
      ["0 , url = 'http://users:3000/v2/a' ; x", "0 , url = '/api/users/a' ; x"],
      ['0; http://users:3000/v2/a ', '0; /api/users/a '],
      ["0;url=/v2/it's", "0;url=/api/users/it's"],
      ['0;url="/v2/a', '0;url="/api/users/a'],
      ['0;url=', '0;url='],
    ] as const)
      t.equal(mapRefresh(value, whence), wanted, value)
    const blanks = ' '.repeat(60_000)
    for (const value of [
      `0;url=${blanks}"x"y`,
      `0;url="${blanks}'x`,
      `${blanks}0${blanks}x`,
      `0;${blanks}url${blanks}x`,
    ]) {
      const startedMs = performance.now()
      mapRefresh(value, whence)
      t.ok(performance.now() - startedMs < 500, 'whoever has a value echoed does not stop the gateway')
    }
  },
)

t.test('a cookie is the public host’s, below the public path', async (t) => {
  for (const [value, wanted] of [
    ['a=1', 'a=1'],
    ['a=1; Path=/; Secure; HttpOnly', 'a=1; Path=/api/users; Secure; HttpOnly'],
    ['a=1; path=/v2/x; Domain=users.internal', 'a=1; Path=/api/users/x'],
    ['a=1;Path=/v2', 'a=1; Path=/api/users'],
    ['a=1; Path=/outside', 'a=1; Path=/api/users'],
    ['a=1; Path=/api/users/x', 'a=1; Path=/api/users/x'],
    ['__Host-a=1; Path=/; Secure', '__Host-a=1; Path=/; Secure'],
    ['a="x;y"; SameSite=Lax', 'a="x;y"; SameSite=Lax'],
    ['a=1; Path', 'a=1; Path=Path'],
  ] as const)
    t.equal(mapCookie(value, whence), wanted, value)
})

t.test(
  'a cookie without a path stays with its service, also when the service’s root has set it',
  async (t) => {
    for (const [value, asked, wanted] of [
      ['a=1; Secure', '/api/users', 'a=1; Secure; Path=/api/users'],
      ['a=1; Path=v2', '/api/users', 'a=1; Path=v2; Path=/api/users'],
      ['a=1; Path=/v2/x', '/api/users', 'a=1; Path=/api/users/x'],
      ['a=1', '/api/users/', 'a=1'],
      ['a=1', '/api/users/42/edit', 'a=1'],
    ] as const)
      t.equal(mapCookie(value, whence, asked), wanted, `${value} ${asked}`)
  },
)
