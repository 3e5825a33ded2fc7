import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { dialWebsocket } from '../../src/upstream/websocket-dial.ts'

const TIMEOUTS = { connectTimeoutMs: 5000, firstByteTimeoutMs: 5000 }
const REFUSALS = {
  'with a length': 'HTTP/1.1 404 No\r\ncontent-length: 3\r\n\r\nabc',
  'in chunks': 'HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  'up to the end': 'HTTP/1.1 404 No\r\nconnection: close\r\n\r\nabc',
}

for (const [name, text] of Object.entries(REFUSALS))
  t.test(`a refusal ${name} is read whole, though the connection closes behind it`, async (test) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => socket.end(text))
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    test.teardown(() => server.close())
    const { port } = server.address() as AddressInfo
    const url = new URL(`http://127.0.0.1:${port}/v1/realtime`)
    const { result } = dialWebsocket({ url, headers: {}, protocols: [] }, TIMEOUTS)
    test.match(await result, { kind: 'refused', refusal: { status: 404, body: Buffer.from('abc') } })
  })
