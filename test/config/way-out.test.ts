import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readSettings } from '../../src/config/env/settings.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { authorityFile, makeCertificates } from '../support/certificates.ts'

type Env = Record<string, string>
const proxyOf = (env: Env, url: string, whose: 'proxyFor' | 'serviceProxyFor' = 'proxyFor') => {
  const { hostname, port, protocol } = new URL(url)
  const isTls = protocol === 'https:'
  const host = hostname.replace(/^\[|\]$/g, '')
  return readSettings(env)[whose]?.({ host, port: Number(port || (isTls ? 443 : 80)), isTls })
}

function mistakesOf(env: Env): readonly string[] {
  try {
    readSettings(env)
    return []
  } catch (error) {
    if (error instanceof SettingsError) return error.mistakes
    throw error
  }
}

t.test('each scheme has its own proxy, the small letters win, an empty value counts as unset', async (t) => {
  const env = { HTTPS_PROXY: 'http://a:3128', HTTP_PROXY: 'https://b' }
  t.same(proxyOf(env, 'https://x.example'), {
    isTls: false,
    host: 'a',
    port: 3128,
    authorization: undefined,
  })
  t.match(proxyOf(env, 'http://x.example'), { isTls: true, host: 'b', port: 443 })
  t.match(proxyOf({ ...env, https_proxy: 'small:1' }, 'https://x.example'), { host: 'small', port: 1 })
  t.match(proxyOf({ ...env, https_proxy: ' ' }, 'https://x.example'), { host: 'a' })
  t.match(proxyOf({ https_proxy: 'http://[::1]:8080' }, 'https://x.example'), { host: '::1', port: 8080 })
  t.match(proxyOf({ https_proxy: 'a' }, 'https://x.example'), { isTls: false, host: 'a', port: 80 })
  t.equal(proxyOf({ HTTP_PROXY: 'http://b' }, 'https://x.example'), undefined, 'none for TLS')
  t.equal(readSettings({ NO_PROXY: '*' }).proxyFor, undefined)
})

t.test('credentials are read from the URL, and are secrets', async (t) => {
  const settings = readSettings({ HTTPS_PROXY: 'http://me%40corp:p%3Ass%2Fw@proxy.example' })
  const basic = Buffer.from('me@corp:p:ss/w').toString('base64')
  t.equal(settings.proxyFor?.({ host: 'x', port: 443, isTls: true })?.authorization, `Basic ${basic}`)
  t.same(settings.proxySecrets, ['p:ss/w', basic])
  const alone = readSettings({ HTTPS_PROXY: 'http://me@proxy.example' })
  t.same(alone.proxySecrets, [Buffer.from('me:').toString('base64')])
  const path = join(t.testdir(), 'proxy')
  writeFileSync(path, 'http://u:hunter2@proxy.example:1\n')
  t.match(proxyOf({ HTTPS_PROXY_FILE: path }, 'https://x.example'), { host: 'proxy.example', port: 1 })
})

t.test('a proxy that cannot be read is a mistake, and its text repeats no password', async (t) => {
  for (const value of [
    'socks5://hunter2:hunter2@x',
    'http://u:hunter2@x/path',
    'http://u:hunter2@x?q',
    'http://u:hunter2@',
    'http://u:hunter2%ZZ@x',
    'ftp://u:hunter2@x',
    'http://u:hunter2@x:99999',
  ]) {
    const mistakes = mistakesOf({ HTTPS_PROXY: value, http_proxy: value })
    t.equal(mistakes.length, 2, value)
    t.match(mistakes[0], /^HTTPS_PROXY must look like http:\/\//)
    t.match(mistakes[1], /^HTTP_PROXY must look like/)
    t.notMatch(mistakes.join(), 'hunter2')
  }
  t.match(mistakesOf({ https_proxy: 'socks5://x' })[0], /SOCKS is not spoken here/)
})

t.test('NO_PROXY names what is reached directly', async (t) => {
  const all: [entries: string, direct: string[], proxied: string[]][] = [
    [
      'x.example',
      ['https://x.example', 'https://a.b.x.example:8443'],
      ['https://ax.example', 'https://x.example.org'],
    ],
    ['.x.example', ['https://x.example', 'https://a.x.example'], ['https://ax.example']],
    ['*.x.example', ['https://a.x.example'], ['https://ax.example']],
    ['X.Example.', ['https://x.example'], []],
    ['x.example:8443', ['https://x.example:8443'], ['https://x.example']],
    ['a, x.example b', ['https://a', 'https://x.example', 'http://b'], ['https://c']],
    ['*', ['https://anything.example', 'http://192.0.2.1'], []],
    ['192.0.2.1', ['https://192.0.2.1'], ['https://192.0.2.10', 'https://a.192.0.2.1.example']],
    ['192.0.2.1:80', ['http://192.0.2.1'], ['https://192.0.2.1']],
    [
      '10.0.0.0/8',
      ['https://10.255.0.1', 'http://10.0.0.1:3000'],
      ['https://11.0.0.1', 'https://ten.example'],
    ],
    ['fd00::/8,2001:db8::1', ['https://[fd12::1]', 'https://[2001:db8::1]'], ['https://[fe80::1]']],
    ['[2001:db8::1]:8443', ['https://[2001:db8::1]:8443'], ['https://[2001:db8::1]']],
    ['169.254/16, http://x, :, /, *x', [], ['https://169.254.0.1', 'https://x.example']],
    [
      'nothing',
      ['https://localhost', 'https://a.localhost', 'http://127.0.0.9:1', 'https://[::1]'],
      ['https://x'],
    ],
  ]
  const proxies = { HTTPS_PROXY: 'http://p:1', HTTP_PROXY: 'http://p:1' }
  for (const [entries, direct, proxied] of all) {
    for (const url of direct)
      t.equal(proxyOf({ ...proxies, NO_PROXY: entries }, url), undefined, `${entries}: ${url}`)
    for (const url of proxied)
      t.ok(proxyOf({ ...proxies, no_proxy: entries, NO_PROXY: '*' }, url), `${entries}: ${url}`)
  }
})

t.test(
  'a service of the own network is reached without the proxy, a provider of the same name is not',
  async (t) => {
    const env = { HTTPS_PROXY: 'http://p:1', HTTP_PROXY: 'http://p:1', NO_PROXY: 'far.example.com' }
    const near = [
      'http://users:3000',
      'https://a.svc',
      'http://10.1.2.3',
      'http://[fd00::1]:80',
      'http://x.internal',
    ]
    for (const url of near) {
      t.equal(proxyOf(env, url, 'serviceProxyFor'), undefined, url)
      t.ok(proxyOf(env, url), url)
    }
    for (const url of ['https://users.example.com', 'http://192.0.2.1', 'http://users.example'])
      t.ok(proxyOf(env, url, 'serviceProxyFor'), url)
    t.equal(
      proxyOf(env, 'https://far.example.com', 'serviceProxyFor'),
      undefined,
      'NO_PROXY holds for it too',
    )
  },
)

t.test('NODE_EXTRA_CA_CERTS must name certificates', async (t) => {
  const folder = t.testdir({
    empty: 'no certificate',
    broken: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
  })
  const path = authorityFile(folder, await makeCertificates())
  t.equal(readSettings({ NODE_EXTRA_CA_CERTS: path }).extraCertificates.length, 1)
  for (const name of ['empty', 'broken', 'missing']) {
    const [mistake = '', ...more] = mistakesOf({ NODE_EXTRA_CA_CERTS: join(folder, name) })
    t.match(mistake, /^NODE_EXTRA_CA_CERTS .* PEM file/, name)
    t.same(more, [])
  }
})
