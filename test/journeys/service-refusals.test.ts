import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import Fastify from 'fastify'
import t from 'tap'
import { openServiceGateway } from '../support/service-gateway.ts'

const PIECE = Buffer.alloc(64 * 1024)
const UPLOADS = 30

/** As clients do that read their answer when they have sent all: 20 MiB, however early it comes. */
const upload = (port: number): Promise<number | undefined> =>
  new Promise((resolve) => {
    const call = request({ port, path: '/api/files', method: 'POST', agent: false }, (answer) => {
      answer.resume().once('close', () => resolve(answer.statusCode))
    })
    call.on('error', () => resolve(undefined))
    Readable.from(Array.from({ length: 320 }, () => PIECE)).pipe(call.setHeader('content-type', 'text/plain'))
  })

t.test('a real service that takes no more than 1 MiB says so to whoever uploads 20', async (t) => {
  const backend = Fastify({ bodyLimit: 1024 * 1024 }).post('/files', () => 'taken')
  await backend.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => backend.close())
  const { port } = backend.server.address() as AddressInfo
  const targets = [{ origin: `http://127.0.0.1:${port}`, basePath: '' }]
  const gateway = await openServiceGateway(t, [{ prefix: '/api', entry: 'open', targets }])
  const statuses: (number | undefined)[] = []
  for (let i = 0; i < UPLOADS; i++) statuses.push(await upload(gateway.port))
  t.same(statuses, Array(UPLOADS).fill(413))
})
