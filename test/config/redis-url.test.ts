import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'

const read = (url: string) => {
  const mistakes: string[] = []
  return readRedisUrl({ REDIS_URL: url }, mistakes) ?? mistakes.join()
}

t.test('each form of REDIS_URL is understood', async (t) => {
  t.equal(readRedisUrl({}, []), undefined)
  t.same(read('redis://localhost'), {
    kind: 'single',
    nodes: [{ host: 'localhost', port: 6379 }],
    tls: false,
    db: 0,
  })
  t.match(read('rediss://ann:s%40crt@[::1]:7000/3'), {
    kind: 'single',
    nodes: [{ host: '::1', port: 7000 }],
    tls: true,
    db: 3,
    username: 'ann',
    password: 's@crt',
  })
  t.match(read('redis://:only@h'), { password: 'only', username: undefined })
  t.match(read('redis-sentinel://:pw@a:1,b/main/2?sentinelPassword=x'), {
    kind: 'sentinel',
    nodes: [
      { host: 'a', port: 1 },
      { host: 'b', port: 26_379 },
    ],
    masterName: 'main',
    db: 2,
    password: 'pw',
    sentinelPassword: 'x',
  })
  t.match(read('rediss-cluster://a,b:1'), {
    kind: 'cluster',
    tls: true,
    nodes: [{ port: 6379 }, { port: 1 }],
  })
})

t.test('blanks and other alphabets are told as what a URL wants', async (t) => {
  for (const password of ['planted blank', 'pl\u00e4nted'])
    t.match(read(`redis://me:${password}@a`), /^REDIS_URL holds .*percent-encode them/)
})

t.test('a wrong one is refused in words that do not repeat it', async (t) => {
  const wrong = [
    'localhost',
    'http://planted',
    'redis://',
    'redis://planted:0',
    'redis://planted:70000',
    'redis://a/planted',
    'redis-sentinel://planted',
    'redis-cluster://planted/1',
    'redis://a?planted=1',
    'redis://%zz@planted%zz:1',
    'redis://:planted%zz@a',
  ]
  for (const url of wrong) {
    const said = read(url)
    t.match(said, /^REDIS_URL is wrong/, url)
    t.notMatch(String(said), /planted/)
  }
})
