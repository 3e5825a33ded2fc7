// An internal API that says what it got. It serves the gateway alone, which it knows by its key.
import { timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

const KEY = Buffer.from(process.env.INTERNAL_API_KEY ?? '')

function isFromGateway(headers) {
  const sent = Buffer.from(headers['x-internal-api-key'] ?? '')
  return KEY.length > 0 && sent.length === KEY.length && timingSafeEqual(sent, KEY)
}

createServer(async (request, answer) => {
  const { method, url, headers } = request
  const body = Buffer.concat(await request.toArray()).toString()
  const [status, seen] = isFromGateway(headers)
    ? [200, { method, url, headers: { ...headers, 'x-internal-api-key': 'the right one' }, body }]
    : [403, { error: 'only through the gateway' }]
  answer.writeHead(status, { 'content-type': 'application/json', 'set-cookie': 'internal=1' })
  answer.end(`${JSON.stringify(seen, null, 2)}\n`)
}).listen(3000)
