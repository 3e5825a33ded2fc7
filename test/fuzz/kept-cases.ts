import type { Target } from './requests.ts'

/** Bytes that once went wrong, or that others' servers fell over: sent in every run, whatever the seed. */
export const keptCases = ({ token }: Target): readonly [name: string, bytes: string][] => {
  const auth = `Authorization: Bearer ${token}\r\n`
  const upgrade =
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  const json = '{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
  const post = (headers: string, body: string) =>
    `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n${auth}Content-Type: application/json\r\n${headers}\r\n${body}`
  return [
    [
      'a handshake with its token in the URL',
      `GET /v1/realtime?token=x HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n`,
    ],
    [
      'a handshake for a path that no router reads',
      `GET /v1/models/%zz HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n`,
    ],
    [
      'a handshake with a body to come',
      `GET /ws HTTP/1.1\r\nHost: a\r\n${upgrade}Content-Length: 9\r\n\r\nabc`,
    ],
    ['a handshake of HTTP/1.0', `GET /v1/realtime HTTP/1.0\r\n${upgrade}\r\n`],
    ['two handshakes', `GET /ws HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n`.repeat(2)],
    [
      'frames that nobody waits for',
      `GET /open HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n${'\x81\xff'.repeat(200)}`,
    ],
    ['CONNECT with a body to come', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n'],
    ['half a body', post('Content-Length: 500\r\n', json)],
    [
      'a body in chunks of one byte',
      post(
        'Transfer-Encoding: chunked\r\n',
        `${[...json].map((one) => `1\r\n${one}\r\n`).join('')}0\r\n\r\n`,
      ),
    ],
    [
      'trailers',
      post(
        'Transfer-Encoding: chunked\r\n',
        `${json.length.toString(16)}\r\n${json}\r\n0\r\nHost: b\r\n\r\n`,
      ),
    ],
    ['an answer waited for and garbage', `${post(`Content-Length: ${json.length}\r\n`, json)}\0\0\0`],
    ['a request in its own body', post(`Content-Length: ${json.length}\r\n`, json).repeat(3)],
    [
      'a form without an end',
      `POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\n${auth}Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 4\r\n\r\n--b\r`,
    ],
    [
      'a handshake behind a request',
      `${post(`Content-Length: ${json.length}\r\n`, json)}GET /ws HTTP/1.1\r\nHost: a\r\n${auth}${upgrade}\r\n`,
    ],
    ['half a body behind an upgrade in vain', post(`${upgrade}Content-Length: 500\r\n`, json)],
    [
      'a request, and half a body behind an upgrade in vain',
      post(`Content-Length: ${json.length}\r\n`, json) + post(`${upgrade}Content-Length: 500\r\n`, json),
    ],
    ['no chunk behind an upgrade in vain', post(`${upgrade}Transfer-Encoding: chunked\r\n`, 'g\r\n\r\n')],
    ['half a passthrough', `POST /v1/files/a HTTP/1.1\r\nHost: a\r\n${auth}Content-Length: 50\r\n\r\n{`],
    ['a half-closed handshake', `GET /open HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n`],
    ['nothing but ends of lines', '\r\n'.repeat(1_000)],
  ]
}
