import t from 'tap'
import { startEcho } from '../support/echo.ts'
import { startGateway } from '../support/gateway.ts'
import { type FrameShape, frame, openRaw } from '../support/raw-socket.ts'
import type { Owner } from '../support/waiting.ts'

const close = (code: number, reason = ''): FrameShape => {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason))
  payload.writeUInt16BE(code, 0)
  payload.write(reason, 2)
  return { opcode: 8, payload }
}
const bye = close(1000, 'bye')
const bytes = (length: number) => Buffer.alloc(length, 'x')
const allKinds = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]

/** RFC 6455 sections 5 to 7: what a client may send, and what it may not. */
const CORPUS: Record<string, (FrameShape | Buffer)[]> = {
  ...Object.fromEntries(allKinds.map((n) => [`text of ${n} bytes`, [{ payload: bytes(n) }, bye]])),
  ...Object.fromEntries(
    allKinds.map((n) => [`binary of ${n} bytes`, [{ opcode: 2, payload: bytes(n) }, bye]]),
  ),
  ...Object.fromEntries(
    [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((n) => [`unknown opcode ${n}`, [{ opcode: n }]]),
  ),
  ...Object.fromEntries(
    [1, 2, 3, 4, 5, 6, 7].flatMap((reserved) =>
      [1, 2, 8, 9, 10].map((opcode) => [
        `reserved bits ${reserved} on opcode ${opcode}`,
        [{ payload: 'first' }, { opcode, reserved }],
      ]),
    ),
  ),
  ...Object.fromEntries(
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map(
      (code) => [`close code ${code}`, [close(code, `reason of ${code}`)]],
    ),
  ),
  ...Object.fromEntries(
    [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map((code) => [
      `forbidden close code ${code}`,
      [close(code)],
    ]),
  ),
  'close without a code': [{ opcode: 8 }],
  'close with half a code': [{ opcode: 8, payload: bytes(1) }],
  'close with the longest reason': [close(1000, 'r'.repeat(123))],
  'close with a reason that is no UTF-8': [{ opcode: 8, payload: Buffer.from([3, 232, 0xff, 0xfe]) }],
  'frames after a close': [bye, { payload: 'late' }, { opcode: 9 }],
  ...Object.fromEntries(
    [0, 1, 125].map((n) => [`ping of ${n} bytes`, [{ opcode: 9, payload: bytes(n) }, bye]]),
  ),
  'ping of 126 bytes': [{ opcode: 9, payload: bytes(126) }],
  'pong that nobody asked for': [{ opcode: 10, payload: 'unasked' }, { payload: 'after' }, bye],
  'pong of 126 bytes': [{ opcode: 10, payload: bytes(126) }],
  'close of 126 bytes': [{ opcode: 8, payload: bytes(126) }],
  'fragmented ping': [{ opcode: 9, final: false, payload: 'a' }],
  'fragmented pong': [{ opcode: 10, final: false }],
  'fragmented close': [{ opcode: 8, final: false }],
  'ten pings in a row': [...Array.from({ length: 10 }, (_, n) => ({ opcode: 9, payload: `p${n}` })), bye],
  'two fragments': [{ final: false, payload: 'one ' }, { opcode: 0, payload: 'two' }, bye],
  'fragments of nothing': [{ final: false }, { opcode: 0, final: false }, { opcode: 0 }, bye],
  'a letter split between fragments': [
    { final: false, payload: Buffer.from([0xe2, 0x82]) },
    { opcode: 0, payload: Buffer.from([0xac]) },
    bye,
  ],
  'ping between fragments': [
    { final: false, payload: 'a' },
    { opcode: 9, payload: 'between' },
    { opcode: 0, payload: 'b' },
    bye,
  ],
  'pong between fragments': [
    { opcode: 2, final: false, payload: 'a' },
    { opcode: 10, payload: 'between' },
    { opcode: 0, payload: 'b' },
    bye,
  ],
  'close between fragments': [{ final: false, payload: 'a' }, bye],
  'continuation of nothing': [{ opcode: 0, payload: 'x' }],
  'continuation after a whole message': [{ payload: 'whole' }, { opcode: 0, payload: 'x' }],
  'a text inside a fragmented text': [{ final: false, payload: 'a' }, { payload: 'b' }],
  'a binary inside a fragmented text': [
    { final: false, payload: 'a' },
    { opcode: 2, payload: 'b' },
  ],
  'invalid UTF-8': [{ payload: Buffer.from([0x48, 0xff, 0xfe]) }],
  'an overlong form': [{ payload: Buffer.from([0xc0, 0xaf]) }],
  'a surrogate': [{ payload: Buffer.from([0xed, 0xa0, 0x80]) }],
  'beyond the last code point': [{ payload: Buffer.from([0xf4, 0x90, 0x80, 0x80]) }],
  'half a letter at the end': [{ payload: Buffer.from([0xe2, 0x82]) }],
  'invalid UTF-8 in the second fragment': [
    { final: false, payload: 'fine' },
    { opcode: 0, payload: Buffer.from([0xff]) },
  ],
  'invalid UTF-8 in a binary': [{ opcode: 2, payload: Buffer.from([0xff, 0xfe]) }, bye],
  'a text that is not masked': [{ payload: 'bare', masked: false }],
  'a ping that is not masked': [{ opcode: 9, masked: false }],
  'a length in more bytes than it needs': [{ payload: 'short', lengthBytes: 2 }, bye],
  'a length in eight bytes': [{ payload: 'short', lengthBytes: 8 }, bye],
  'a length beyond all numbers': [
    Buffer.concat([Buffer.of(0x81, 0xff), Buffer.alloc(8, 0xff), Buffer.alloc(4)]),
  ],
  'more than 100 MiB announced': [frame({ length: 200 * 1024 * 1024, payload: '' })],
  'every byte by itself': [{ payload: 'slowly' }, { opcode: 9, payload: 'p' }, bye],
}

/** What a client sees: the frames in order, until the other side closes. */
const play = async (
  test: Owner,
  at: { port: number; path: string },
  sent: (FrameShape | Buffer)[],
  cut: boolean,
) => {
  const client = openRaw(test, at)
  await client.opened
  const wire = Buffer.concat(sent.map((shape) => (Buffer.isBuffer(shape) ? shape : frame(shape))))
  if (cut) {
    for (const byte of wire) {
      client.socket.write(Buffer.of(byte))
      await new Promise(setImmediate)
    }
  } else client.socket.write(wire)
  await client.until(
    'the end',
    () => (client.frames().some(({ opcode }) => opcode === 8) ? true : undefined),
    15_000,
  )
  client.socket.end()
  await client.closed
  const frames = client.frames()
  // A pong and an echo come from different queues of the service.
  const pick = (isControl: boolean) =>
    frames
      .filter(({ opcode }) => opcode >= 9 === isControl)
      .map(({ opcode, isFinal, payload }) => [opcode, isFinal, payload.toString('hex')])
  return { messages: pick(false), pongs: pick(true) }
}

t.test('through the gateway every frame means what it means without it', async (t) => {
  const echo = await startEcho(t)
  const gateway = await startGateway(t, {
    env: {
      WS_ROUTES: `/ws=ws://127.0.0.1:${echo.port}/ws!open`,
      WS_SOCKETS_PER_TOKEN: '1000',
      UNAUTHENTICATED_PER_MINUTE: '1000000',
      SERVICE_REQUESTS_PER_MINUTE: '1000000',
    },
  })
  t.ok(Object.keys(CORPUS).length >= 120, `${Object.keys(CORPUS).length} cases`)
  for (const [name, sent] of Object.entries(CORPUS)) {
    const cut = name === 'every byte by itself'
    const [direct, through] = await Promise.all([
      play(t, { port: echo.port, path: '/ws' }, sent, cut),
      play(t, { port: gateway.port, path: '/ws' }, sent, cut),
    ])
    t.same(through, direct, name)
  }
})
