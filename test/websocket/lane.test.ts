import { PassThrough } from 'node:stream'
import t from 'tap'
import { OPCODES, writeClose, writeFrame } from '../../src/websocket/frames.ts'
import { Lane } from '../../src/websocket/lane.ts'
import type { MessageInspector } from '../../src/websocket/message-copy.ts'
import { type FrameShape, frame, readFrames } from '../support/raw-socket.ts'

const openLane = (inspector?: MessageInspector) => {
  const parts: Buffer[] = []
  const to = new PassThrough()
  to.write = (part: Buffer) => parts.push(part) > 0
  const broken: number[] = []
  const lane = new Lane({
    from: new PassThrough(),
    to,
    isMasked: false,
    maxMessageBytes: 1000,
    inspector,
    listener: {
      isOwnPong: (payload) => payload.equals(Buffer.from('mine')),
      closing: () => {},
      broken: (code) => broken.push(code),
    },
  })
  const bytes = (): Buffer => Buffer.concat(parts.splice(0))
  return { lane, bytes, broken }
}
const server = (shape: FrameShape): Buffer => frame({ ...shape, masked: false })
const texts = (bytes: Buffer): string[] => readFrames(bytes).map(({ payload }) => String(payload))

const STREAM = Buffer.concat([
  server({ payload: 'one' }),
  server({ opcode: 10, payload: 'mine' }),
  server({ final: false, payload: 'two ' }),
  server({ opcode: 10, payload: 'mine' }),
  server({ opcode: 9, payload: 'ping' }),
  server({ opcode: 0, payload: 'halves'.repeat(50) }),
  server({ opcode: 2, payload: '' }),
])
const PASSED = Buffer.concat([
  server({ payload: 'one' }),
  server({ final: false, payload: 'two ' }),
  server({ opcode: 9, payload: 'ping' }),
  server({ opcode: 0, payload: 'halves'.repeat(50) }),
  server({ opcode: 2, payload: '' }),
])

t.test('wherever the chunks break, the same bytes pass but for our own pongs', async (t) => {
  const pass: MessageInspector = {
    headBytes: 4,
    tailBytes: 4,
    gate: () => undefined,
    passed: () => {},
  }
  for (const inspector of [undefined, pass]) {
    for (let size = 1; size <= STREAM.length; size += 1) {
      const { lane, bytes } = openLane(inspector)
      for (let at = 0; at < STREAM.length; at += size) lane.push(STREAM.subarray(at, at + size))
      t.ok(bytes().equals(PASSED), `chunks of ${size}`)
      t.equal(lane.messages, 3)
    }
  }
})

t.test(
  'our own frames wait for the end of the frame, our last message for the end of the message',
  async (t) => {
    const { lane, bytes } = openLane()
    const first = server({ final: false, payload: 'begun ' })
    lane.push(first.subarray(0, 4))
    lane.insert(writeFrame(OPCODES.ping, Buffer.from('p'), false))
    const last = Buffer.concat([
      writeFrame(OPCODES.text, Buffer.from('error'), false),
      writeClose(1008, 'dry', false),
    ])
    let isDone = false
    lane.finish(last, true, () => {
      isDone = true
    })
    lane.push(first.subarray(4))
    t.notOk(isDone)
    lane.push(Buffer.concat([server({ opcode: 0, payload: 'ended' }), server({ payload: 'too late' })]))
    t.ok(isDone)
    t.same(texts(bytes()), ['begun ', 'p', 'ended', 'error', '\x03\xf0dry'.replace('\xf0', '\ufffd')])
  },
)

t.test('a gate holds a message and all behind it back', async (t) => {
  let open = (): void => {}
  const { lane, bytes } = openLane({
    headBytes: 100,
    tailBytes: 0,
    gate: (head) =>
      String(head) === 'gated'
        ? new Promise((resolve) => {
            open = resolve
          })
        : undefined,
    passed: () => {},
  })
  lane.push(
    Buffer.concat([server({ payload: 'free' }), server({ payload: 'gated' }), server({ payload: 'next' })]),
  )
  t.same(texts(bytes()), ['free'])
  t.ok(lane.isPaused)
  open()
  await new Promise(setImmediate)
  t.same(texts(bytes()), ['gated', 'next'])
})

const gateFor = (word: string) => {
  const heads: string[] = []
  let open = (): void => {}
  const inspector: MessageInspector = {
    headBytes: 5,
    tailBytes: 0,
    gate: (head) => {
      heads.push(String(head))
      if (String(head) !== word) return undefined
      return new Promise((resolve) => {
        open = resolve
      })
    },
    passed: () => {},
  }
  return { inspector, heads, open: () => open() }
}

t.test('a gate sees the beginning of a message, however it is fragmented', async (t) => {
  const wire = Buffer.concat([
    server({ payload: 'one' }),
    server({ final: false, payload: 'ga' }),
    server({ opcode: 9, payload: 'ping' }),
    server({ opcode: 0, final: false, payload: '' }),
    server({ opcode: 0, final: false, payload: 'tedx' }),
    server({ opcode: 0, payload: 'yz' }),
    server({ final: false, payload: 'no' }),
    server({ opcode: 0, payload: 't' }),
  ])
  for (let size = 1; size <= wire.length; size += 1) {
    const gate = gateFor('gated')
    const { lane, bytes } = openLane(gate.inspector)
    for (let at = 0; at < wire.length; at += size) {
      lane.push(wire.subarray(at, at + size))
      if (!lane.isPaused) continue
      t.same(texts(bytes()), ['one', 'ping'], `chunks of ${size}: only a ping overtakes`)
      gate.open()
      await new Promise(setImmediate)
    }
    t.same(texts(bytes()), ['ga', '', 'tedx', 'yz', 'no', 't'], `chunks of ${size}`)
    t.same(gate.heads, ['one', 'gated', 'not'])
  }
})

t.test(
  'fragments that show nothing wait within bounds, and our own last message need not wait',
  async (t) => {
    const gate = gateFor('gated')
    const { lane, bytes } = openLane(gate.inspector)
    lane.push(server({ final: false, payload: 'g' }))
    const empty = server({ opcode: 0, final: false })
    for (let count = 1; count < 1_024; count += 1) lane.push(empty)
    t.equal(bytes().length, 0)
    lane.push(empty)
    t.equal(readFrames(bytes()).length, 1_025)
    t.same(gate.heads, ['g'])
    const other = openLane(gate.inspector)
    other.lane.push(server({ final: false, payload: 'ga' }))
    other.lane.finish(writeFrame(OPCODES.text, Buffer.from('error'), false), true, () => {})
    other.lane.push(server({ opcode: 0, payload: 'ted' }))
    t.same(texts(other.bytes()), ['error'])
  },
)

t.test('a broken rule stops the lane before the frame that breaks it', async (t) => {
  const { lane, bytes, broken } = openLane()
  lane.push(Buffer.concat([server({ payload: 'fine' }), server({ reserved: 4, payload: 'bad' })]))
  lane.push(server({ payload: 'never' }))
  t.same(texts(bytes()), ['fine'])
  t.same(broken, [1002])
  const long = openLane()
  long.lane.push(server({ payload: 'x'.repeat(1001) }))
  t.same(long.broken, [1009])
})

t.test('what stands in a message’s place passes for it, and nothing when that is nothing', async (t) => {
  const places = [writeFrame(OPCODES.text, Buffer.from('other'), false), Buffer.alloc(0), undefined]
  for (const isCut of [false, true]) {
    const left = [...places]
    const inspector: MessageInspector = {
      headBytes: 1001,
      tailBytes: 0,
      gate: async () => {},
      instead: () => left.shift(),
      passed: () => {},
    }
    const { lane, bytes } = openLane(inspector)
    const stream = Buffer.concat([
      server({ final: false, payload: 'fir' }),
      server({ opcode: 9, payload: 'ping' }),
      server({ opcode: 0, payload: 'st' }),
      server({ payload: 'second' }),
      server({ payload: 'third' }),
    ])
    for (const piece of isCut ? stream : [stream]) {
      lane.push(Buffer.isBuffer(piece) ? piece : Buffer.of(piece))
      await new Promise(setImmediate)
    }
    await new Promise(setImmediate)
    t.same(
      texts(bytes()).filter((text) => text !== 'ping'),
      ['other', 'third'],
      isCut ? 'byte by byte' : 'at once',
    )
    t.equal(lane.messages, 3)
  }
})

t.test('a message of our own waits for the end of another', async (t) => {
  const { lane, bytes } = openLane()
  lane.push(server({ final: false, payload: 'a' }))
  lane.insert(writeFrame(OPCODES.text, Buffer.from('own'), false), true)
  lane.insert(writeFrame(OPCODES.ping, Buffer.from('p'), false))
  t.same(texts(bytes()), ['a', 'p'])
  lane.push(server({ opcode: 0, payload: 'b' }))
  t.same(texts(bytes()), ['b', 'own'])
})
