import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import Fastify, { type FastifyPluginAsync } from 'fastify'
import { generate } from 'selfsigned'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { Deadlines } from '../../src/deadlines.ts'
import { anthropicMessages } from '../../src/dialects/anthropic-messages.ts'
import { createUpstreamHeaders } from '../../src/dialects/headers.ts'
import { openaiChat } from '../../src/dialects/openai-chat.ts'
import { errorReply } from '../../src/entrance/error-reply.ts'
import { type PassthroughRoute, passthrough } from '../../src/services/passthrough.ts'

const KEY = 'provider-key-000000000000'
const TIMEOUTS = {
  connectTimeoutMs: 1000,
  answerTimeoutMs: 300,
  firstByteTimeoutMs: 300,
  idleTimeoutMs: 1000,
  totalTimeoutMs: 5000,
  bodyTimeoutMs: 5000,
}

const listen = async (t: Test, server: http.Server | https.Server): Promise<number> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

const openGateway = async (t: Test, routes: PassthroughRoute[]): Promise<string> => {
  const app = Fastify()
  await app.register(errorReply)
  const scope: FastifyPluginAsync = async (paid) => {
    // The enclosing scope may hold whole bodies; what is handed through must not be held.
    for (const type of ['*', 'application/json', 'application/octet-stream']) {
      paid.addContentTypeParser(type, { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    }
    const upstreamHeaders = createUpstreamHeaders([])
    await paid.register(passthrough, {
      routes,
      timeouts: TIMEOUTS,
      deadlines: new Deadlines(),
      upstreamHeaders,
    })
  }
  await app.register(scope)
  t.teardown(() => app.close())
  return await app.listen({ port: 0, host: '127.0.0.1' })
}

const routeTo = (origin: string, more: Partial<PassthroughRoute> = {}): PassthroughRoute => ({
  prefix: '/v1/files',
  origin,
  basePath: '/v1/files',
  key: () => KEY,
  dialect: openaiChat,
  ...more,
})

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
    answer.end('made')
  })
  const origin = `http://127.0.0.1:${await listen(t, provider)}`
  const gateway = await openGateway(t, [
    routeTo(origin),
    routeTo(origin, {
      prefix: '/v1/other',
      basePath: '/base/other',
      key: () => 'second-key',
      dialect: anthropicMessages,
    }),
  ])
  const body = '--b\r\ncontent-disposition: form-data; name="n"\r\n\r\n 1.0 \r\n--b--\r\n'
  const answer = await request(`${gateway}/v1/files/a%2Fb/content?after=1&x=%20y`, {
    method: 'POST',
    headers: {
      authorization: 'Bearer client-secret',
      'x-api-key': 'client-secret',
      cookie: 'c=client-secret',
      'x-forwarded-for': '6.6.6.6',
      'content-type': 'multipart/form-data; boundary=b',
      connection: 'authorization',
    },
    body,
  })
  t.equal(answer.statusCode, 201)
  t.equal(await answer.body.text(), 'made')
  t.equal(answer.headers['content-type'], 'application/x-odd')
  for (const name of ['set-cookie', 'openai-organization', 'location']) t.notOk(answer.headers[name], name)
  t.match(seen, [
    {
      url: '/v1/files/a%2Fb/content?after=1&x=%20y',
      body,
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'multipart/form-data; boundary=b' },
    },
  ])
  t.notMatch(JSON.stringify(seen), /client-secret|6\.6\.6\.6/)
  const json = '{"b":1.0,"a":9007199254740993}'
  await (
    await request(`${gateway}/v1/other`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: json,
    })
  ).body.dump()
  t.match(seen[1], { url: '/base/other', body: json, headers: { 'x-api-key': 'second-key' } })
  t.notOk(seen[1]?.headers.authorization)
})

t.test('a large upload is streamed, not held', async (t) => {
  const arrived = new PassThrough()
  const provider = http.createServer((incoming, answer) => {
    incoming.pipe(arrived)
    incoming.on('end', () => answer.end('done'))
  })
  const gateway = await openGateway(t, [routeTo(`http://127.0.0.1:${await listen(t, provider)}`)])
  const client = http.request(`${gateway}/v1/files`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
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
    const gateway = await openGateway(t, [routeTo(`https://127.0.0.1:${port}`)])
    const answer = await request(`${gateway}/v1/files`)
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
  const gateway = await openGateway(t, [
    routeTo(`http://127.0.0.1:${await listen(t, busy)}`, { prefix: '/busy' }),
    routeTo(`http://127.0.0.1:${await listen(t, silent)}`, { prefix: '/silent' }),
    routeTo(`http://127.0.0.1:${gonePort}`, { prefix: '/gone' }),
  ])
  const ask = async (path: string) => {
    const answer = await request(`${gateway}${path}`)
    return { status: answer.statusCode, text: await answer.body.text() }
  }
  const away = await ask('/gone')
  t.match(away, { status: 502, text: /upstream_failed/ })
  t.notMatch(away.text, /127\.0\.0\.1|ECONNREFUSED/)
  t.match(await ask('/silent'), { status: 504, text: /upstream_timeout/ })
  t.match(await ask('/busy'), { status: 503, text: 'busy' })
  t.equal(asked, 1)
})
