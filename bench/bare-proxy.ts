// The anchor: @fastify/http-proxy with nothing but a pool that is large enough for the paced streams.
import httpProxy from '@fastify/http-proxy'
import fastify from 'fastify'

const app = fastify()
await app.register(httpProxy, {
  upstream: process.env.UPSTREAM ?? '',
  undici: { connections: 4096, pipelining: 1 },
})
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
