import t from 'tap'
import { readSession } from '../../src/services/paths/session-form.ts'

const inPath = { name: 'session_id', in: 'path' } as const
const inQuery = { name: 'session_id', in: 'query' } as const

/** A public rest as one text, and what becomes of it at the target. */
const read = (form: typeof inPath | typeof inQuery, rest: string): string => {
  const at = rest.indexOf('?')
  const [path, query] = at < 0 ? [rest, ''] : [rest.slice(0, at), rest.slice(at)]
  const read = readSession(form, { path, query })
  return read.path + read.query
}

t.test('both public forms become the one that the target has, and other fields stay', async (t) => {
  const cases: [rest: string, path: string, query: string][] = [
    ['?session_id=abc', '/abc', '?session_id=abc'],
    ['/abc', '/abc', '?session_id=abc'],
    ['/abc/', '/abc', '?session_id=abc'],
    ['/abc?x=1&y=%20z', '/abc?x=1&y=%20z', '?session_id=abc&x=1&y=%20z'],
    ['?x=1&session_id=abc&y=%20z', '/abc?x=1&y=%20z', '?x=1&session_id=abc&y=%20z'],
    ['?session_id=a%3Ab+c', '/a%3Ab%20c', '?session_id=a%3Ab+c'],
    ['/a:b@c=d+e', '/a:b@c=d+e', '?session_id=a%3Ab%40c%3Dd%2Be'],
    ['/a&admin=1', '/a&admin=1', '?session_id=a%26admin%3D1'],
    ['?session_id=a%26admin%3D1', '/a%26admin%3D1', '?session_id=a%26admin%3D1'],
    ['?session%5Fid=abc', '/abc', '?session%5Fid=abc'],
    ['/%C3%A4', '/%C3%A4', '?session_id=%C3%A4'],
    ['/..abc', '/..abc', '?session_id=..abc'],
  ]
  for (const [rest, path, query] of cases) {
    t.equal(read(inPath, rest), path, `${rest} in the path`)
    t.equal(read(inQuery, rest), query, `${rest} in the query`)
  }
  t.equal(read(inQuery, ''), '', 'without a session the service decides')
  t.equal(read(inQuery, '?x=1'), '?x=1')
  t.throws(() => read(inPath, ''), { code: 'invalid_request' }, 'a path without its end is another one')
  t.throws(() => read(inPath, '?x=1'), { code: 'invalid_request' })
})

t.test('a value that could leave its place is refused', async (t) => {
  const values = [
    ...['..', '.', '%2e%2e', '.%2E', '%2e', 'a%2Fb', 'a%2fb', '%5c', 'a%5Cb', '%00', 'a%0d%0ab', '%7f'],
    ...['%252e%252e', '%252f', 'a%253Fb', 'a%3Fb', 'a%23b', 'a%3Bb', '%', '%zz', '%ff'],
  ]
  for (const value of values) {
    for (const form of [inPath, inQuery])
      t.throws(() => read(form, `/${value}`), { code: 'invalid_request' }, `/${value} ${form.in}`)
    t.throws(() => read(inPath, `?session_id=${value}`), { code: 'invalid_request' }, `?session_id=${value}`)
  }
  for (const rest of [
    '/a/b',
    '/a//',
    '//a',
    '/a;b=c',
    '/a\\b',
    '?session_id=',
    '?session_id=a/b',
    '?session_id=../x',
  ])
    t.throws(() => read(inPath, rest), { code: 'invalid_request' }, rest)
})

t.test('which session is meant is said once', async (t) => {
  for (const rest of ['/a?session_id=b', '/a?session_id=a'])
    for (const form of [inPath, inQuery]) t.throws(() => read(form, rest), { code: 'invalid_request' }, rest)
  t.throws(() => read(inPath, '?session_id=a&session_id=b'), { code: 'invalid_request' })
  t.throws(() => read(inPath, '?session_id=a&session%5fid=b'), { code: 'invalid_request' })
})
