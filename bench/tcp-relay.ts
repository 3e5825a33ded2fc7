// The anchor of the WebSocket scenario: bytes from one TCP socket to another and back, nothing else.
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'

const upstreamPort = Number(process.env.UPSTREAM_PORT)
createServer((client) => {
  const upstream = connect(upstreamPort, '127.0.0.1')
  client.setNoDelay(true)
  upstream.setNoDelay(true)
  pipeline(client, upstream, () => {})
  pipeline(upstream, client, () => {})
}).listen(Number(process.env.PORT), '127.0.0.1')
