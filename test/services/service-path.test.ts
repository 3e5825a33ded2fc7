import fc from 'fast-check'
import t from 'tap'
import {
  findServiceHeadMistake,
  findServicePathMistake,
  mapUrl,
  publicPath,
} from '../../src/services/paths/service-path.ts'

t.test('what leads out, or may be read as another path, is refused; what services need passes', async (t) => {
  const refused: [string, RegExp][] = [
    ['/a/../b', /"\.\."/],
    ['/a/%2E%2e/b', /"\.\."/],
    ['/a/%252e%252e%252fb', /"\.\."/],
    ['/a/..;x=1/b', /"\.\."/],
    ['/a/..%3bx', /"\.\."/],
    ['/..', /"\.\."/],
    ['/a/..%5cb', /backslash/],
    ['/a\\b', /backslash/],
    ['/a%255cb', /backslash/],
    ['/a%00', /control character/],
    ['/a%0d%0aset-cookie:x', /control character/],
    ['/a%7f', /control character/],
    ['/a%', /hexadecimal/],
    ['/a%g0', /hexadecimal/],
    ['/%c0%ae%c0%ae/a', /more bytes/],
    ['/%252525252525252541', /many times over/],
  ]
  for (const [path, why] of refused) t.match(findServicePathMistake(path)?.message, why, path)
  for (const path of [
    '/a/b.c/d..e/...',
    '/a%2Fb',
    '/a//b',
    '/a;v=1/b',
    '/./a/.',
    '/%41%2d%ff%C3%A4',
    '/a%3Fb%23',
    "/!$&'()*+,;=:@~_-",
    '/a%25b',
  ])
    t.equal(findServicePathMistake(path), undefined, path)
})

t.test('no path that passes holds a way up, however often it is decoded', async () => {
  const part = fc.constantFrom(
    '.',
    '..',
    '/',
    '%2e',
    '%2E',
    '%2f',
    '%5c',
    '%25',
    '2e',
    '2f',
    ';',
    'a',
    '\\',
    '%3b',
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const path = `/${parts.join('')}`
      if (findServicePathMistake(path)) return true
      let read = path
      for (let round = 0; round < 20; round++) {
        const way = read.split(/[/\\]/).map((segment) => segment.split(';', 1)[0])
        if (way.includes('..') || read.includes('\\')) return false
        read = read.replace(/%([0-7][0-9a-f])/gi, (_all, hex) =>
          String.fromCharCode(Number.parseInt(hex, 16)),
        )
      }
      return true
    }),
    { numRuns: 5_000 },
  )
})

t.test('a path is mapped there and back, and the query is never touched', async (t) => {
  const strip = { prefix: '/api/users', keepsPrefix: false }
  const keep = { prefix: '/api/users', keepsPrefix: true }
  const cases: [string, typeof strip, string, string | undefined][] = [
    ['/api/users/42?x=%20y&&', strip, '', '/42?x=%20y&&'],
    ['/api/users/42', strip, '/v2', '/v2/42'],
    ['/api/users', strip, '', '/'],
    ['/api/users?a', strip, '', '/?a'],
    ['/api/users?a', strip, '/v2', '/v2?a'],
    ['/api/users/', strip, '/v2', '/v2/'],
    ['/api/users//evil.example/', strip, '', undefined],
    ['/api/users//a', strip, '/v2', '/v2//a'],
    ['/api/users/42?x', keep, '', '/api/users/42?x'],
    ['/api/users/42?x', keep, '/v2', '/v2/api/users/42?x'],
  ]
  for (const [url, route, basePath, wanted] of cases) {
    const sent = mapUrl(url, route, { basePath })
    t.equal(sent, wanted, `${url} at ${basePath || '/'}`)
    if (sent === undefined || sent.includes('?') || url === '/api/users') continue
    t.equal(publicPath(sent, route, { basePath }), url)
  }
  t.equal(publicPath('/v22/a', strip, { basePath: '/v2' }), undefined)
  t.equal(publicPath('/v2', strip, { basePath: '/v2' }), '/api/users')
  t.equal(publicPath('/v2/other', keep, { basePath: '/v2' }), undefined)
})

t.test('chunks in HTTP/1.0, whose end not everybody sees alike, reach no service', async (t) => {
  const head = { url: '/api/x', headers: { 'transfer-encoding': 'chunked' } }
  t.match(findServiceHeadMistake({ ...head, httpVersion: '1.0' }), { statusCode: 400 })
  t.equal(findServiceHeadMistake({ ...head, httpVersion: '1.1' }), undefined)
  t.equal(findServiceHeadMistake({ url: '/api/x', headers: {}, httpVersion: '1.0' }), undefined)
})
