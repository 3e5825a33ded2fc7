import type { Dice } from './random.ts'
import type { Draft } from './requests.ts'

type DraftMutation = (dice: Dice, draft: Draft) => Draft
type BytesMutation = (dice: Dice, bytes: Buffer) => Buffer

const NAMES = [
  'Host',
  'Authorization',
  'Content-Length',
  'Transfer-Encoding',
  'Connection',
  'Upgrade',
  'Expect',
  'Content-Encoding',
  'Content-Type',
  'Idempotency-Key',
  'X-Forwarded-For',
  'X-Request-Id',
  'Origin',
  'Accept-Encoding',
  'anthropic-version',
  'Trailer',
  'TE',
  'Keep-Alive',
]
const VALUES = [
  '',
  '0',
  '-1',
  '1e3',
  '99999999999999999999',
  'chunked',
  'chunked, chunked',
  'gzip, chunked',
  'identity',
  'close',
  'close, keep-alive',
  'keep-alive, Upgrade',
  'websocket',
  'h2c',
  '100-continue',
  'gzip',
  'application/json; charset=utf-16',
  'multipart/form-data',
  'multipart/form-data; boundary=""',
  'null',
  'a\0b',
  'a\tb',
  '\x7f\x80\xff',
  'a\rb',
  'a\nb: c',
  'a\r\n folded',
  'x'.repeat(300),
  'x'.repeat(20_000),
]
const PATHS = [
  '*',
  '//',
  '/v1/../health',
  '/v1/%2e%2e/health',
  '/v1/models/%00',
  '/v1/models/%zz',
  '/v1/models/a%2fb',
  '/v1/chat/completions?key=x',
  '/v1/chat/completions/',
  '/v1/models#fragment',
  'http://evil.example/v1/models',
  'evil.example:443',
  '/\xe4\xf6\xfc',
  '/v1/models/?a=%',
  `/${'a'.repeat(9_000)}`,
  `/v1/models/${'m/'.repeat(300)}`,
  '/health?'.repeat(50),
]

const DRAFT_MUTATIONS: readonly DraftMutation[] = [
  (dice, draft) => ({
    ...draft,
    method: dice.pick(['CONNECT', 'TRACE', 'PATCH', 'BREW', 'get', 'PRI', 'PURGE', '']),
  }),
  (dice, draft) => ({ ...draft, path: dice.pick(PATHS) }),
  (dice, draft) => ({
    ...draft,
    path: `${draft.path}?${dice.pick(['', 'a=b', 'token=x', 'model=m&model=n', '%'])}`,
  }),
  (dice, draft) => ({
    ...draft,
    version: dice.pick(['HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'http/1.1', 'HTTP/1.1 ', 'HTTP/11', '']),
  }),
  (dice, draft) => ({ ...draft, headers: [...draft.headers, [dice.pick(NAMES), dice.pick(VALUES)]] }),
  (dice, draft) => ({ ...draft, headers: [[dice.pick(NAMES), dice.pick(VALUES)], ...draft.headers] }),
  (dice, draft) => ({ ...draft, headers: [...draft.headers, dice.pick([...draft.headers, ['Host', 'b']])] }),
  (dice, draft) => {
    const gone = dice.below(draft.headers.length + 1)
    return { ...draft, headers: draft.headers.filter((_, index) => index !== gone) }
  },
  (dice, draft) => ({
    ...draft,
    headers: draft.headers.map(([name, value]) => [
      dice.percent(30)
        ? dice.pick([name.toUpperCase(), ` ${name}`, `${name} `, `${name}\0`, `${name}\xe9`])
        : name,
      value,
    ]),
  }),
  (dice, draft) => ({
    ...draft,
    headers: [
      ...draft.headers,
      ...Array.from({ length: dice.pick([60, 99, 101, 2_100]) }, (_, index): [string, string] => [
        `x-${index}`,
        '1',
      ]),
    ],
  }),
  (dice, draft) => ({
    ...draft,
    headers: [
      ...draft.headers,
      ['Connection', 'Upgrade'],
      ['Upgrade', dice.pick(['websocket', 'h2c', 'x/1'])],
    ],
  }),
  (dice, draft) => ({ ...draft, framing: dice.pick(['none', 'length', 'chunked']) }),
  (dice, draft) => ({ ...draft, body: mutateBody(dice, draft.body) }),
  (dice, draft) => ({ ...draft, body: mutateBody(dice, draft.body) }),
]

/** Inside what the body says; its length follows. */
function mutateBody(dice: Dice, body: Buffer): Buffer {
  const text = body.toString('latin1')
  const change = dice.pick<(text: string) => string>([
    (all) => all.slice(0, dice.below(all.length + 1)),
    (all) => `\xef\xbb\xbf${all}`,
    (all) => `${'['.repeat(5_000)}${all}`,
    (all) => all.replace('{', '{"model":"n","model":"m",'),
    (all) => all.replace('"m"', dice.pick(['1e999', '"\\ud800"', '"\xff"', '{"a":[]}', 'm', '"m\\u0000"'])),
    (all) => all.replace(/:/g, ' :\n\t'),
    (all) => `${all}${dice.pick(['}', '\0', ' ', 'x', all])}`,
    (all) => all.replaceAll('\r\n', dice.pick(['\n', '\r', '\r\n\r\n', ''])),
    (all) => all.replace(/name="/, dice.pick(['name=', 'name*="', "name='", 'name="model"; name="'])),
    (all) => all.replace(/--\r\n$/, ''),
    (all) => all.replace('form-data', dice.pick(['attachment', '', 'form-data;'.repeat(500)])),
    (all) => all.replace('{', `{${'"k":0,'.repeat(dice.pick([10, 3_000]))}`),
    () => dice.bytes(dice.between(0, 300)).toString('latin1'),
    () => '',
  ])
  return Buffer.from(change(text), 'latin1')
}

const at = (dice: Dice, bytes: Buffer): number => dice.below(bytes.length + 1)
/** Rather in the head than in a long body. */
const near = (dice: Dice, bytes: Buffer): number => dice.below(Math.min(bytes.length, 600) + 1)

const BYTES_MUTATIONS: readonly BytesMutation[] = [
  (dice, bytes) => bytes.subarray(0, at(dice, bytes)),
  (dice, bytes) => insert(bytes, near(dice, bytes), dice.bytes(dice.between(1, 4))),
  (dice, bytes) =>
    insert(bytes, near(dice, bytes), Buffer.from(dice.pick(['\r', '\n', '\r\n', '\0', ' ', ':', ';']))),
  (dice, bytes) => {
    const from = near(dice, bytes)
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + dice.between(1, 20))])
  },
  (dice, bytes) => {
    const copy = Buffer.from(bytes)
    if (copy.length > 0) copy[dice.below(Math.min(copy.length, 600))] = dice.below(256)
    return copy
  },
  (dice, bytes) => {
    const from = near(dice, bytes)
    const slice = bytes.subarray(from, from + dice.between(1, 80))
    return insert(bytes, near(dice, bytes), slice)
  },
  (dice, bytes) => replaceOnce(bytes, /\r\n/, dice.pick(['\n', '\r', '\r\r\n', '\n\n'])),
  (dice, bytes) =>
    replaceOnce(
      bytes,
      /content-length: \d+/i,
      `Content-Length: ${dice.pick(['0', '1', '9', '100000', '+5', '0x5', '5, 5', '5 5', '3000000000'])}`,
    ),
  (dice, bytes) =>
    replaceOnce(
      bytes,
      /\r\n\r\n[0-9a-f]+\r\n/i,
      `\r\n\r\n${dice.pick(['-1', 'fffffffffffffffff', '0x5', '', '5;', `5;${'a'.repeat(20_000)}`, ' 5', 'g', '00000000000000000005'])}\r\n`,
    ),
  (dice, bytes) =>
    replaceOnce(
      bytes,
      /0\r\n\r\n$/,
      dice.pick([
        '0\r\n',
        '0\r\nContent-Length: 5\r\n\r\n',
        '0\r\nbad trailer\r\n\r\n',
        `0\r\nx: ${'y'.repeat(30_000)}\r\n\r\n`,
        '0;x\r\n\r\n',
      ]),
    ),
  (dice) => dice.bytes(dice.between(1, 500)),
  (dice, bytes) =>
    Buffer.concat([Buffer.from(dice.pick(['\r\n', '\r\n\r\n', '\n', ' ', '\0', '\x16\x03\x01'])), bytes]),
]

const insert = (bytes: Buffer, where: number, more: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, where), more, bytes.subarray(where)])

const replaceOnce = (bytes: Buffer, what: RegExp, by: string): Buffer =>
  Buffer.from(
    bytes.toString('latin1').replace(what, () => by),
    'latin1',
  )

export const mutateDraft: DraftMutation = (dice, draft) => dice.pick(DRAFT_MUTATIONS)(dice, draft)
export const mutateBytes: BytesMutation = (dice, bytes) => dice.pick(BYTES_MUTATIONS)(dice, bytes)
