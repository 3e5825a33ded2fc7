/**
 * Requests with bodies as they are sent, right and wrong: each letter is a byte. `{t}` stands for the target, `{a}` for the lines that
 * every request has (`Host`, the credential, the case's number), `{c}` for the latter two, `{A}` for those of a second request.
 */
const BODY = 'POST {t} HTTP/1.1\r\n{a}'
const GET = 'GET {t} HTTP/1.1\r\n{a}'
const CHUNKED = `${BODY}Transfer-Encoding: chunked\r\n\r\n`
const HELLO = '5\r\nhello\r\n0\r\n\r\n'
const CANARY = 'GET /canary HTTP/1.1\r\nHost: canary\r\n\r\n'
const SECOND = 'GET {t} HTTP/1.1\r\n{A}\r\n'

const withBody = (heads: readonly string[], body: string): string[] =>
  heads.map((head) => `${BODY}${head}\r\n\r\n${body}`)

const CODINGS = [
  ...[
    'chunked',
    'CHUNKED',
    'chunKed',
    '\tchunked',
    '  chunked',
    'chunked ',
    'xchunked',
    'chunked, identity',
    'identity',
  ],
  ...[
    'identity, chunked',
    'gzip, chunked',
    'chunked, chunked',
    'chunked,',
    ', chunked',
    '"chunked"',
    'chunked;q=1',
    'cow',
    '',
  ],
  ...[
    '\x0bchunked',
    '\x0cchunked',
    'chunked\0',
    'chunked\x0b',
    '\xa0chunked',
    'chunk\x00ed',
    '\r\n chunked',
    '\r\n\tchunked',
  ],
  ...[
    'chunked\r\nTransfer-Encoding: identity',
    'identity\r\nTransfer-Encoding: chunked',
    'chunked\r\nTransfer-Encoding: chunked',
  ],
]
const LENGTHS = [
  ...[
    '5',
    '05',
    '5 ',
    ' 5',
    '\t5',
    '+5',
    '-5',
    '0x5',
    '5a',
    '5.0',
    '1e1',
    '5e0',
    '',
    '5,',
    '5, 5',
    '5,5',
    '5;',
    '5 5',
    '"5"',
  ],
  ...[
    '5\x0b',
    '5\0',
    '99999999999999999999',
    '18446744073709551621',
    '5\r\nContent-Length: 5',
    '5\r\nContent-Length: 6',
    '\r\n 5',
  ],
  ...['0\r\nContent-Length: 5', '5\r\ncontent-length: 0', '\u0665', '5_0', '0b101', 'five'],
]
const CHUNKS = [
  ...[
    '5;a=b\r\nhello\r\n0\r\n\r\n',
    '5;a="b"\r\nhello\r\n0;c\r\n\r\n',
    '5;\r\nhello\r\n0\r\n\r\n',
    '05\r\nhello\r\n0\r\n\r\n',
    '5\r\nhello\r\n000\r\n\r\n',
  ],
  ...[
    'A\r\nhellohello\r\n0\r\n\r\n',
    'a\r\nhellohello\r\n0\r\n\r\n',
    '0x5\r\nhello\r\n0\r\n\r\n',
    '+5\r\nhello\r\n0\r\n\r\n',
    '-5\r\nhello\r\n0\r\n\r\n',
  ],
  ...[
    ' 5\r\nhello\r\n0\r\n\r\n',
    '5 \r\nhello\r\n0\r\n\r\n',
    '5\t\r\nhello\r\n0\r\n\r\n',
    'g\r\nhello\r\n0\r\n\r\n',
    '\r\nhello\r\n0\r\n\r\n',
  ],
  ...[
    '5\nhello\r\n0\r\n\r\n',
    '5\r\nhello\n0\r\n\r\n',
    '5\r\nhello0\r\n\r\n',
    '5\r\nhelloXX0\r\n\r\n',
    '4\r\nhello\r\n0\r\n\r\n',
    '5\rhello\r\n0\r\n\r\n',
  ],
  ...[
    '5;a\n\r\nhello\r\n0\r\n\r\n',
    '5;a=\x01\r\nhello\r\n0\r\n\r\n',
    '5;a\rb\r\nhello\r\n0\r\n\r\n',
    'FFFFFFFFFFFFFFFFF\r\nhello',
    '5\r\nhello\r\n0\n\n',
  ],
  ...[
    `5;\nxx\r\nhello\r\n0\r\n\r\n${CANARY}`,
    `2;\nxx\r\n00\r\n0\r\n\r\n${CANARY}`,
    `0\r\n\r\n${CANARY}`,
    `5\r\nhello\r\n0\r\n\r\n${SECOND}`,
  ],
]
const TRAILERS = [
  ...[
    'X-Sum: abc',
    'X-Internal-Api-Key: evil',
    'X-User-Id: root',
    'X-User-Claims: {}',
    'Authorization: Bearer evil',
    'Host: canary',
  ],
  ...[
    'Content-Length: 3',
    'Transfer-Encoding: chunked',
    'X-Forwarded-For: 1.1.1.1',
    'Cookie: a=b',
    'Connection: close',
    'X_User_Id: root',
  ],
  ...[
    'X-Token-Id: tok_evil',
    '__proto__: x',
    'Te: trailers',
    'Via: 1.1 x',
    'Content-Type: text/html',
    'X-Sum : abc',
    ' X-Sum: abc',
    'no colon',
  ],
  ...[
    'X-Sum: a\rb',
    'X-Sum: a\nX-User-Id: root',
    'X-Sum: a\0b',
    'Upgrade: h2c',
    'Expect: 100-continue',
    'X-Sum: a\r\nX-Sum: b',
  ],
]

export const BODIES: Readonly<Record<string, readonly string[]>> = {
  'codings of a body': CODINGS.map(
    (coding) => `${BODY}Transfer-Encoding:${coding.startsWith('\r') ? '' : ' '}${coding}\r\n\r\n${HELLO}`,
  ),
  'names of a coding': withBody(
    [
      ...[
        'Transfer-Encoding : chunked',
        ' Transfer-Encoding: chunked',
        'Transfer-Encoding\t: chunked',
        'Transfer_Encoding: chunked',
      ],
      ...[
        'X: y\nTransfer-Encoding: chunked',
        'X: y\rTransfer-Encoding: chunked',
        'Transfer-Encoding\0: chunked',
        'TE: chunked',
      ],
      ...[
        'X-Transfer-Encoding: chunked',
        'Transfer\xadEncoding: chunked',
        '"Transfer-Encoding": chunked',
        '\x00Transfer-Encoding: chunked',
      ],
    ],
    HELLO,
  ),
  'a length and a coding': [
    `${BODY}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG`,
    `${BODY}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGET`,
    `${BODY}Content-Length: 15\r\nTransfer-Encoding: identity\r\n\r\n${HELLO}`,
    `${BODY}Content-Length: 15\r\ntransfer-encoding: xchunked\r\n\r\n${HELLO}`,
    `${BODY}Content-Length: 15\r\nTransfer_Encoding: chunked\r\n\r\n${HELLO}`,
    `${BODY}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n${HELLO}`,
    `GET {t} HTTP/1.0\r\n{a}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n${HELLO}`,
    `${BODY}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG`,
  ],
  lengths: LENGTHS.map(
    (length) => `${BODY}Content-Length:${length.startsWith('\r') ? '' : ' '}${length}\r\n\r\nhello`,
  ),
  'names of a length': withBody(
    [
      'Content-Length : 5',
      'Content_Length: 5',
      ' Content-Length: 5',
      'Content-Length\0: 5',
      'Content-Length: 5\n',
    ],
    'hello',
  ),
  chunks: CHUNKS.map((chunks) => CHUNKED + chunks),
  trailers: TRAILERS.map(
    (line) => `${BODY}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n${line}\r\n\r\n`,
  ),
  'bodies of any method': ['GET', 'DELETE', 'PUT', 'PATCH', 'OPTIONS', 'HEAD'].flatMap((method) => [
    `${method} {t} HTTP/1.1\r\n{a}Content-Length: 5\r\n\r\nhello`,
    `${method} {t} HTTP/1.1\r\n{a}Transfer-Encoding: chunked\r\n\r\n${HELLO}`,
    `${method} {t} HTTP/1.1\r\n{a}\r\n`,
  ]),
  'bodies that look like requests': [
    `${BODY}Content-Length: ${CANARY.length}\r\n\r\n${CANARY}`,
    `${CHUNKED}${CANARY.length.toString(16)}\r\n${CANARY}\r\n0\r\n\r\n`,
    `${BODY}\r\n${CANARY}`,
    `${GET}\r\n${CANARY}`,
    `${GET}Content-Length: 0\r\n\r\n${CANARY}`,
    `${GET}Content-Length: ${CANARY.length}\r\n\r\n${CANARY}`,
    `${BODY}Content-Length: 5\r\n\r\nhello${CANARY}`,
  ],
  'several in a row': [
    `${GET}\r\n${SECOND}`,
    `${BODY}Content-Length: 5\r\n\r\nhello${SECOND}`,
    `${CHUNKED}${HELLO}${SECOND}`,
    `HEAD {t} HTTP/1.1\r\n{a}\r\n${SECOND}`,
    `${GET}\r\nPOST {t} HTTP/1.1\r\n{A}Content-Length: 5\r\n\r\nhello`,
    `${GET}\r\nPOST {t} HTTP/1.1\r\n{A}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `GET /nowhere HTTP/1.1\r\n{a}\r\n${SECOND}`,
    `${GET}Connection: close\r\n\r\n${CANARY}`,
    `${BODY}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello${SECOND}`,
  ],
  'connections and bodies': withBody(
    [
      ...[
        'Connection: content-length\r\nContent-Length: 5',
        'Content-Length: 5\r\nConnection: close, Content-Length',
        'Connection: content-type\r\nContent-Type: a/b\r\nContent-Length: 5',
      ],
      ...[
        'Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5',
        'Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5',
      ],
    ],
    'hello',
  ),
  expectations: withBody(
    [
      'Expect: 100-continue',
      'Expect: 100-Continue',
      'Expect: 200-ok',
      'Expect: 100-continue, more',
      'Expect:',
      'Expect: 100-continue\r\nExpect: 100-continue',
    ].map((line) => `${line}\r\nContent-Length: 5`),
    'hello',
  ),
  unfinished: [
    `${BODY}Content-Length: 10\r\n\r\nhello`,
    `${CHUNKED}5\r\nhello\r\n`,
    `${CHUNKED}5\r\nhel`,
    `${CHUNKED}5`,
    GET,
    'GET {t} HTTP/1.1\r\nHost: gateway',
    `${CHUNKED}5\r\nhello\r\n0\r\n`,
    `${CHUNKED}5\r\nhello\r\n0\r\nX-Sum: a\r\n`,
  ],
}
