import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { generate } from 'selfsigned'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { openServiceGateway, type ServiceGateway } from '../support/service-gateway.ts'

const KEY = 'provider-key-000000000000'

const listen = async (t: Test, server: http.Server | https.Server): Promise<number> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** `/v1/files` and `/v1/other` handed to this provider. */
const openGateway = (t: Test, baseUrl: string, env: Record<string, string> = {}): Promise<ServiceGateway> =>
  openServiceGateway(
    t,
    ['/v1/files', '/v1/other'].map((prefix) => ({ prefix, provider: 'openai', keepsPrefix: true })),
    { env: { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: baseUrl, ...env } },
  )

const credential = ({ token }: ServiceGateway) => ({ authorization: `Bearer ${token}` })

t.test('path, query, body and content type arrive as sent; credentials and addresses do not', async (t) => {
  const seen: { url: string | undefined; headers: http.IncomingHttpHeaders; body: string }[] = []
  const provider = http.createServer(async (incoming, answer) => {
    let body = ''
    for await (const chunk of incoming) body += chunk
    seen.push({ url: incoming.url, headers: incoming.headers, body })
    answer.writeHead(201, {
      'content-type': 'application/x-odd',
      'set-cookie': 'a=b',
      'openai-organization': 'acme',
      location: 'http://10.0.0.1/',
    })
    answer.end(`made with ${KEY}`)
  })
  const gateway = await openGateway(t, `http://127.0.0.1:${await listen(t, provider)}/base/v1`)
  const body = '--b\r\ncontent-disposition: form-data; name="n"\r\n\r\n 1.0 \r\n--b--\r\n'
  const answer = await request(`${gateway.url}/v1/files/a%2Fb/content?after=1&x=%20y`, {
    method: 'POST',
    headers: {
      ...credential(gateway),
      'x-api-key': 'client-secret',
      cookie: 'c=client-secret',
      'x-forwarded-for': '6.6.6.6',
      'content-type': 'multipart/form-data; boundary=b',
      connection: 'authorization',
    },
    body,
  })
  t.equal(answer.statusCode, 201)
  t.equal(await answer.body.text(), `made with ${'*'.repeat(KEY.length)}`)
  t.equal(answer.headers['content-type'], 'application/x-odd')
  for (const name of ['set-cookie', 'openai-organization', 'location']) t.notOk(answer.headers[name], name)
  t.match(seen, [
    {
      url: '/base/v1/files/a%2Fb/content?after=1&x=%20y',
      body,
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'multipart/form-data; boundary=b' },
    },
  ])
  t.notMatch(JSON.stringify(seen), /client-secret|6\.6\.6\.6|x-forwarded|"via"|traceparent/)
  t.notOk(JSON.stringify(seen).includes(gateway.token))
  const json = '{"b":1.0,"a":9007199254740993}'
  const other = await request(`${gateway.url}/v1/other`, {
    method: 'POST',
    headers: { ...credential(gateway), 'content-type': 'application/json' },
    body: json,
  })
  await other.body.dump()
  t.match(seen[1], { url: '/base/v1/other', body: json })
})

t.test('a refusal of a provider tells nothing of the operator', async (t) => {
  const provider = http.createServer((_incoming, answer) => {
    answer.writeHead(401, { 'content-type': 'application/json' })
    answer.end('{"error":"Incorrect API key sk-ab***cd for org-A1B2C3D4 at 10.1.2.3"}')
  })
  const gateway = await openGateway(t, `http://127.0.0.1:${await listen(t, provider)}/v1`)
  const answer = await request(`${gateway.url}/v1/files`, { headers: credential(gateway) })
  t.equal(answer.statusCode, 401)
  t.notMatch(await answer.body.text(), /sk-ab|org-A1|10\.1\.2\.3/)
})

t.test('nor does its status line, nor a refusal that is encoded though nobody asked for that', async (t) => {
  const text = `{"error":"Incorrect API key ${KEY} at 10.1.2.3"}`
  const codings: [string, Buffer][] = [
    ['gzip', gzipSync(text)],
    ['br', brotliCompressSync(text)],
  ]
  let told = codings[0]
  const provider = http.createServer((_incoming, answer) => {
    const [coding, bytes] = told ?? ['identity', Buffer.from(text)]
    answer.writeHead(401, `No ${KEY}`, { 'content-encoding': coding, 'content-length': bytes.length })
    answer.end(bytes)
  })
  const gateway = await openGateway(t, `http://127.0.0.1:${await listen(t, provider)}/v1`)
  for (told of codings) {
    const client = http.get(`${gateway.url}/v1/files`, { headers: credential(gateway) })
    const [answer] = await once(client, 'response')
    t.match(answer, { statusCode: 401, statusMessage: 'Unauthorized' })
    t.equal(answer.headers['content-encoding'], undefined)
    const parts: Buffer[] = await answer.toArray()
    const body = String(Buffer.concat(parts))
    t.equal(
      body,
      told?.[0] === 'gzip'
        ? text.replace(KEY, '*'.repeat(KEY.length)).replace('10.1.2.3', '*'.repeat(8))
        : '',
    )
  }
})

t.test('a large upload is streamed, not held', async (t) => {
  const arrived = new PassThrough()
  const provider = http.createServer((incoming, answer) => {
    incoming.pipe(arrived)
    incoming.on('end', () => answer.end('done'))
  })
  const gateway = await openGateway(t, `http://127.0.0.1:${await listen(t, provider)}/v1`)
  const client = http.request(`${gateway.url}/v1/files`, {
    method: 'POST',
    headers: { ...credential(gateway), 'content-type': 'application/octet-stream' },
  })
  client.write('first')
  const [first] = await once(arrived, 'data')
  t.equal(String(first), 'first', 'the first bytes are there before the last are sent')
  client.end()
  const [answer] = await once(client, 'response')
  answer.resume()
  t.equal(answer.statusCode, 200)
})

for (const [name, options] of [
  ['a self-signed certificate', { altNames: [{ type: 7 as const, ip: '127.0.0.1' }], days: 10 }],
  ['a certificate for another name', { altNames: [{ type: 2 as const, value: 'other.example' }], days: 10 }],
  ['an expired certificate', { altNames: [{ type: 7 as const, ip: '127.0.0.1' }], days: -5 }],
] as const) {
  t.test(`a provider with ${name} gets no key`, async (t) => {
    const day = 86_400_000
    const pem = await generate([{ name: 'commonName', value: '127.0.0.1' }], {
      extensions: [{ name: 'subjectAltName', altNames: [...options.altNames] }],
      notBeforeDate: new Date(Date.now() - 10 * day),
      notAfterDate: new Date(Date.now() + options.days * day),
    })
    let asked = 0
    const provider = https.createServer({ key: pem.private, cert: pem.cert }, (_request, answer) => {
      asked++
      answer.end('stolen')
    })
    const port = await listen(t, provider)
    const gateway = await openGateway(t, `https://127.0.0.1:${port}/v1`)
    const answer = await request(`${gateway.url}/v1/files`, { headers: credential(gateway) })
    const text = await answer.body.text()
    t.equal(answer.statusCode, 502)
    t.equal(JSON.parse(text).error.code, 'upstream_failed')
    t.equal(asked, 0)
    t.notMatch(text, new RegExp(`127\\.0\\.0\\.1|${port}|certificate`))
  })
}

t.test('a provider that is away is 502, a silent one 504, and a 503 is asked once', async (t) => {
  let asked = 0
  const busy = http.createServer((_request, answer) => {
    asked++
    answer.writeHead(503, { 'retry-after': '0' }).end('busy')
  })
  const silent = http.createServer(() => undefined)
  const gone = http.createServer()
  const gonePort = await listen(t, gone)
  gone.close()
  const ask = async (port: number) => {
    const limits = { ANSWER_TIMEOUT_MS: '1000', FIRST_BYTE_TIMEOUT_MS: '1000' }
    const gateway = await openGateway(t, `http://127.0.0.1:${port}/v1`, limits)
    const answer = await request(`${gateway.url}/v1/files`, { headers: credential(gateway) })
    return { status: answer.statusCode, text: await answer.body.text() }
  }
  const away = await ask(gonePort)
  t.match(away, { status: 502, text: /upstream_failed/ })
  t.notMatch(away.text, /127\.0\.0\.1|ECONNREFUSED/)
  t.match(await ask(await listen(t, silent)), { status: 504, text: /upstream_timeout/ })
  t.match(await ask(await listen(t, busy)), { status: 503, text: 'busy' })
  t.equal(asked, 1)
})
